import numpy as np

from builders.training_data import labelled
from feedmill.training.evaluation.filter_metrics import (
    ScoredRows,
    dataset_report,
    filter_metrics,
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
