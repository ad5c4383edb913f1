"""A filter learns what is planted, with the same bytes each time, and groups count once."""

from dataclasses import replace
from math import log, sqrt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from builders.events import posts_of
from builders.training_data import labelled, ordinary, sentences
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import BUCKETS
from feedmill.filters.model import Evidence, FilterModel, LengthCalibrator
from feedmill.training.arrays import Values
from feedmill.training.datasets.labelled_posts import LabelledRow, labelled_posts
from feedmill.training.datasets.synthetic_posts import everyday_sentences
from feedmill.training.fitting.filters import EvidenceMatrix, _weights, fit, group_contrast
from feedmill.training.recipes import RECIPES

BY_GROUP = replace(RECIPES["nsfw"], by_group=True, inverse_penalty=0.03)
BY_ROW = replace(BY_GROUP, by_group=False)
NONE = everyday_sentences(0, 1)


def test_by_group_a_group_weighs_as_the_root_of_its_size() -> None:
    sizes = {"one": 1, "four": 4, "nine": 9}
    rows = [
        LabelledRow(text, float(is_bad), group)
        for is_bad in (True, False)
        for (group, size) in sizes.items()
        for text in sentences(size, size + 100 * is_bad)
    ]
    part = labelled_posts("set", "set", rows)
    groups, is_bad = np.array(part.groups), part.labels == 1
    weights = _weights(BY_GROUP, [part], [], [], NONE)
    of_group = [weights[is_bad & (groups == f"set|{name}")].sum() for name in sizes]
    np.testing.assert_allclose(np.array(of_group) / of_group[0], [1, 2, 3])
    assert np.isclose(weights.mean(), 1)
    assert np.isclose(weights[is_bad].sum(), weights[~is_bad].sum())
    assert len(set(_weights(BY_ROW, [part], [], [], NONE))) == 1


def test_by_group_one_loud_group_tells_less() -> None:
    loud = [
        LabelledRow(f"{text} zebra", 1.0, "loud") for text in sentences(60, 5, "BUY pills NOW!!!")
    ]
    quiet = labelled("set", 1)
    both = labelled_posts(
        "set",
        "set",
        [
            *loud,
            *(
                LabelledRow(post.text, label, group)
                for post, label, group in zip(quiet.posts, quiet.labels, quiet.groups, strict=True)
            ),
        ],
    )
    probe = labelled_posts("probe", "probe", [LabelledRow("river stone zebra", 0.0, "p")])
    plain = labelled_posts("probe", "probe", [LabelledRow("river stone winter", 0.0, "p")])
    gained = []
    for recipe in (BY_ROW, BY_GROUP):
        model = fit(recipe, [both], [ordinary("one", 3)]).model("nsfw", "")
        scores = np.concatenate([model.score_many(rows.posts) for rows in (probe, plain)])
        odds = np.log(scores / (1 - scores)) / model.calibrator.slope
        known = [model.score_many(quiet.where(quiet.labels == k).posts[:20]) for k in (1, 0)]
        assert known[0].min() > known[1].max()
        gained.append(odds[0] - odds[1])
    assert gained[1] < gained[0] / 1.5


def test_everyday_sentences_weigh_what_the_recipe_gives_them() -> None:
    part, made = labelled("set", 1), everyday_sentences(20, 1)
    weights = _weights(replace(BY_GROUP, everyday_weight=0.1), [part], [], [], made)
    assert np.isclose(weights[len(part) :].sum(), 0.1 * weights[: len(part)].sum())


EVIDENCE = Evidence(("text", "hosts"), ("cues",))
TEXTS = ["win free money now", "a walk in the woods", "free cash", "bread and butter"] * 30


def test_the_matrix_scores_as_the_model_that_ships() -> None:
    batch = PostBatch(posts_of([*TEXTS, "win a river of bread " * 200]))
    labels = np.array([*([1.0, 0.0, 1.0, 0.0] * 30), 0.0])
    every = np.ones(len(batch), dtype=np.bool_)
    matrix = EvidenceMatrix(EVIDENCE, batch)
    linear = matrix.fit(labels, np.ones(len(batch)), every, 1.0)
    calibrator = LengthCalibrator(np.zeros(0, np.int64), np.zeros(1), 1.0, 1.0)
    model = FilterModel(
        "spam", "", linear.ngram_models, EVIDENCE, linear.weights, linear.bias, calibrator
    )
    scores = matrix.raw_scores(linear, every)
    np.testing.assert_allclose(model.raw_scores(batch), scores, rtol=1e-4, atol=1e-5)
    assert scores[labels == 1].min() > scores[labels == 0].max()


def test_only_the_chosen_rows_are_learned() -> None:
    texts = [*TEXTS, "a walk in the woods"]
    labels = np.array([*([1.0, 0.0, 1.0, 0.0] * 30), 1.0])
    batch = PostBatch(posts_of(texts))
    rows = np.ones(len(texts), dtype=np.bool_)
    rows[-1] = False
    fitted = EvidenceMatrix(EVIDENCE, batch).fit(labels, np.ones(len(texts)), rows, 1.0)
    shorter = PostBatch(posts_of(TEXTS))
    every = np.ones(len(TEXTS), dtype=np.bool_)
    again = EvidenceMatrix(EVIDENCE, shorter).fit(labels[:-1], np.ones(len(TEXTS)), every, 1.0)
    np.testing.assert_array_equal(fitted.weights, again.weights)
    assert fitted.bias == again.bias


Row = tuple[int, bool, frozenset[int]]  # its group, whether it violates, its n-grams
ROWS = st.tuples(st.integers(-1, 4), st.booleans(), st.frozensets(st.integers(0, 5), max_size=4))


def scales(rows: list[Row]) -> Values:
    matrix = sparse.lil_matrix((len(rows), BUCKETS), dtype=np.float32)
    for index, (_, _, tokens) in enumerate(rows):
        for token in tokens:
            matrix[index, token] = 0.1 + token
    violating = np.array([is_bad for _, is_bad, _ in rows])
    return group_contrast(matrix.tocsr(), violating, np.array([group for group, _, _ in rows]))


def plain_scales(rows: list[Row]) -> list[float]:
    """The same of the first tokens, row by row, from the definition alone."""
    rows = [row for row in rows if row[0] >= 0]
    groups = {group for group, _, _ in rows}
    bad_part = {
        group: float(np.mean([is_bad for other, is_bad, _ in rows if other == group]))
        for group in groups
    }
    prior, logs = float(np.mean(list(bad_part.values()))), []
    for token in range(6):
        ratio = {}
        for kind in (True, False):
            found = {group for group, is_bad, tokens in rows if is_bad == kind and token in tokens}
            expected = 0.0
            for group in groups:
                having = sum(token in tokens for other, _, tokens in rows if other == group)
                part = bad_part[group] if kind else 1 - bad_part[group]
                expected += 1 - (1 - part) ** having
            more = 3 * (prior if kind else 1 - prior)
            ratio[kind] = (len(found) + more) / (expected + more)
        logs.append(abs(log(ratio[True] / ratio[False])))
    seen = [any(token in tokens for _, _, tokens in rows) for token in range(6)]
    squares = [value**2 for value, is_seen in zip(logs, seen, strict=True) if is_seen]
    spread = sqrt(sum(squares) / len(squares)) if squares else 1.0
    return [
        0.5 + 0.5 * value / (spread or 1.0) * is_seen
        for value, is_seen in zip(logs, seen, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=2, max_size=30))
def test_the_scales_are_those_of_the_definition(rows: list[Row]) -> None:
    rows += [(0, True, frozenset({0})), (1, False, frozenset({1}))]
    np.testing.assert_allclose(scales(rows)[:6], plain_scales(rows), rtol=1e-5, atol=1e-6)


def test_one_class_alone_changes_nothing() -> None:
    rows: list[Row] = [(0, False, frozenset({0})), (1, False, frozenset({1}))]
    assert (scales(rows) == 1).all()
