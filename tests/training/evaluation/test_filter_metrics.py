"""What is measured of a filter, against scikit-learn: under weights, in slices and as curves."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from builders.training_data import labelled
from feedmill.events.post import Post
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.filter_metrics import (
    ScoredRows,
    calibration_error,
    curves_of,
    dataset_report,
    filter_metrics,
    language_of,
    length_band,
    ranking,
    slices_of,
    svg,
)


def test_rows_are_caught_at_the_default_thresholds() -> None:
    scores = np.array([0.1, 0.6, 0.95, 0.7])
    metrics = filter_metrics(scores, np.array([False, False, True, True]), list("abcd"))
    assert (metrics.rows, metrics.violating, metrics.groups) == (4, 2, 4)
    assert (metrics.auc.value, metrics.recall_at_1_percent.value) == (1.0, 1.0)
    assert (metrics.caught_demoted.value, metrics.caught_hidden.value) == (1.0, 0.5)
    assert (metrics.fine_demoted.value, metrics.fine_hidden.value) == (0.5, 0.0)


def test_of_one_class_nothing_is_known() -> None:
    metrics = filter_metrics(np.array([0.1, 0.9]), np.zeros(2, dtype=np.bool_), ["a", "b"])
    for figure in (metrics.auc, metrics.recall_at_1_percent, metrics.caught_demoted):
        assert (figure.low, figure.high) == (0.0, 1.0)
    assert metrics.fine_demoted.value == 0.5


def test_a_group_with_many_of_the_violating_rows_is_shown_apart() -> None:
    rows = labelled("bad", 1)
    groups = [
        "bad|large" if label and i % 10 == 0 else f"bad|{i % 50}"
        for i, label in enumerate(rows.labels)
    ]
    rows.groups[:] = groups
    in_large = np.array([group == "bad|large" for group in groups])
    scores = np.where(in_large, 0.95, 0.2 * rows.labels)
    report = dataset_report("bad", "stored", "", [ScoredRows(rows, scores, 0)])
    assert [group.name for group in report.large_groups] == ["large"]
    (large,) = report.large_groups
    assert large.part_of_violating == in_large.sum() / rows.labels.sum()
    assert large.inside.caught_hidden.value == 1.0
    assert large.without is not None
    assert large.without.caught_hidden.value == 0.0
    assert large.inside.rows + large.without.rows == report.metrics.rows == len(rows)


def test_worst_errors_are_ids_the_worst_first() -> None:
    rows = labelled("bad", 1, 30)
    scores = np.linspace(0, 1, len(rows))
    report = dataset_report("bad", "stored", "", [ScoredRows(rows, scores, 3)])
    fine = [post.post_id for post, y in zip(rows.posts, rows.labels, strict=True) if not y]
    bad = [post.post_id for post, y in zip(rows.posts, rows.labels, strict=True) if y]
    assert report.worst_fine == fine[::-1][:10]
    assert report.worst_violating == bad[:10]
    assert report.dropped == 3


RANDOM = np.random.default_rng(3)
VIOLATING = RANDOM.random(2_000) < 0.3
SCORES = np.clip(RANDOM.normal(0.4 + 0.2 * VIOLATING, 0.1), 0, 1)


def test_a_curve_keeps_some_of_its_points_and_both_ends() -> None:
    curves = curves_of(SCORES, VIOLATING)
    across, up, _ = roc_curve(VIOLATING, SCORES)
    assert len(across) > 80 >= len(curves.roc)
    assert set(curves.roc) <= set(zip(across.tolist(), up.tolist(), strict=True))
    assert (curves.roc[0], curves.roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert (curves.precision[0][0], curves.precision[-1][0]) == (0.0, 1.0)
    assert curves.precision[-1][1] == pytest.approx(VIOLATING.mean(), abs=0.01)
    assert all(abs(mean - rate) > 0.01 for mean, rate in curves.calibration[:3])


def test_where_nothing_violates_there_is_no_curve_of_order() -> None:
    curves = curves_of(SCORES, np.zeros(len(SCORES), dtype=np.bool_))
    assert (curves.roc, curves.precision) == ([], [])
    assert {rate for _, rate in curves.calibration} == {0.0}


def test_a_plot_is_well_formed_names_its_axes_and_is_the_same_twice() -> None:
    curves = curves_of(SCORES, VIOLATING)
    drawn = svg("spam & sms", curves)
    assert drawn == svg("spam & sms", curves)
    root = ElementTree.fromstring(drawn)  # noqa: S314 - made right here
    texts = {each.text for each in root.findall(".//{*}text")}
    assert {"spam & sms", "false positive rate", "precision", "share violating"} <= texts


def test_slices_by_language_and_length() -> None:
    texts = ["short one"] * 30 + ["слово за словом " * 8] * 30
    rows = [
        Post(f"{i}", f"author-of-{i}", 0, t, lang="de" if i < 25 else None)
        for i, t in enumerate(texts)
    ]
    labels = (np.arange(60) % 2).astype(np.float64)
    groups = [f"g|{i % 25}" for i in range(60)]
    whole = LabelledPosts("s", rows, labels, groups, np.full(60, "test"))
    slices = {(s.by, s.value): s for s in slices_of(whole, labels * 0.7, 0.6)}
    assert set(slices) == {
        ("language", "de"),
        ("language", "other script"),
        ("length", "to 100"),
        ("length", "to 200"),
    }
    of_german = slices["language", "de"]
    assert (of_german.caught.value, of_german.false_alarms.value, of_german.auc.value) == (1, 0, 1)
    assert of_german.false_alarms.high > 0


def test_bands_of_length_include_their_end() -> None:
    bands = [length_band(n) for n in (0, 100, 101, 2_000, 2_001)]
    assert bands == ["to 100", "to 100", "to 200", "to 2,000", "above 2,000"]


def test_a_stated_language_counts_before_the_script() -> None:
    texts = [("short one", "de"), ("short one", None), ("слово", None), ("12 !", None)]
    found = [language_of(Post("p", "a", 0, text, lang=lang)) for text, lang in texts]
    assert found == ["de", "latin script", "other script", "latin script"]


# Few distinct scores, so that ties are common; both classes.
SCORED = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.booleans()), min_size=2, max_size=60
).filter(lambda rows: 0 < sum(bad for _, bad in rows) < len(rows))


def arrays(rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([bad for _, bad in rows])


def test_calibration_error_of_the_right_and_of_the_wrong_probability() -> None:
    bad = np.arange(1000) % 4 == 0
    weights = np.stack([np.ones(1000), 2.0 * bad])  # in the second draw all rows are positive
    for probability, expected in ((0.25, [0, 0.75]), (0.85, [0.6, 0.15])):
        errors = calibration_error(np.full(1000, probability), bad, weights)
        assert errors == pytest.approx(expected)
    assert calibration_error(bad.astype(np.float64), bad, weights).tolist() == [0, 0]


@settings(max_examples=25)
@given(SCORED, st.integers(0, 5))
def test_ranking_counts_a_row_as_often_as_it_is_drawn(
    rows: list[tuple[float, bool]], seed: int
) -> None:
    scores, bad = arrays(rows)
    drawn = np.random.default_rng(seed).integers(0, 4, (3, len(rows)))
    measured = ranking(scores, bad, drawn.astype(np.float64))
    for counts, (auc, precision, recall) in zip(drawn, measured, strict=True):
        repeated, labels = np.repeat(scores, counts), np.repeat(bad, counts)
        if labels.all() or not labels.any():
            assert np.isnan([auc, precision, recall]).all()
            continue
        assert np.isclose(auc, roc_auc_score(labels, repeated))
        assert np.isclose(precision, average_precision_score(labels, repeated))
        allowed = [
            (repeated[labels] >= at).mean()
            for at in [*np.unique(repeated), np.inf]
            if (repeated[~labels] >= at).mean() <= 0.01
        ]
        assert np.isclose(recall, max(allowed))
