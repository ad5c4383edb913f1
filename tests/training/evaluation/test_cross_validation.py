"""A model is never evaluated on rows that it learned: in no mode, not in disguise, in no file."""

from dataclasses import replace

import numpy as np
import pytest

from builders.leaks import FittedParrot, Parrot, check_nothing_leaked, leaky_data
from builders.training_data import training_data
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.training.datasets.labelled_posts import text_fingerprint
from feedmill.training.evaluation import cross_validation
from feedmill.training.evaluation.cross_validation import (
    TrainingBudget,
    cross_validate,
    grouped_folds,
    leave_one_dataset_out,
    train_without,
)
from feedmill.training.recipes import Recipe

SPAM = FILTERS["spam"]


def test_a_set_left_out_is_scored_without_the_hand_written_lexicon_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[tuple[str, ...]] = []

    def fit(recipe: Recipe, *_: object) -> FittedParrot:
        read.append(recipe.evidence.groups)
        return FittedParrot(Parrot())

    monkeypatch.setattr(cross_validation, "fit", fit)
    leave_one_dataset_out(SPAM, leaky_data())
    assert read == [()] * 3 + [("cues",)] * 3


def test_no_fold_is_scored_by_a_model_that_learned_its_texts_or_groups(
    parrots: list[Parrot],
) -> None:
    data = leaky_data()
    for index, evaluated in enumerate(data.labelled):
        parrots.clear()
        report = cross_validate(SPAM, data, index, 4)
        check_nothing_leaked(parrots)
        assert report.metrics.auc.value == 0.5  # a parrot of other texts knows nothing
        rows = evaluated.rows
        assert report.metrics.rows + report.dropped == len(rows.without_test())
        group_of = {p.post_id: g for p, g in zip(rows.posts, rows.groups, strict=True)}
        for parrot in parrots:
            scored = {group_of[p.post_id] for p in parrot.scored if p.post_id in group_of}
            assert not scored & parrot.groups


def test_alone_a_fold_learns_from_its_own_set(parrots: list[Parrot]) -> None:
    data = leaky_data()
    report = cross_validate(SPAM, data, 0, 3, TrainingBudget(alone=True))
    check_nothing_leaked(parrots)
    own = {text_fingerprint(post.text) for post in data.labelled[0].rows.posts}
    assert all(parrot.texts <= own for parrot in parrots)
    assert report.mode == "alone"
    assert report.note == "3 folds by group; learned from its other folds, without ordinary posts"


def test_a_model_learns_nothing_of_a_set_left_out(parrots: list[Parrot]) -> None:
    reports = leave_one_dataset_out(SPAM, leaky_data())
    check_nothing_leaked(parrots)
    assert [(report.name, report.mode) for report in reports] == [
        (name, mode)
        for mode in ("left out", "left out, with lexicon")
        for name in ("bad", "few", "copies")
    ]
    assert all(report.metrics.auc.value == 0.5 for report in reports)
    with pytest.raises(UsageError, match="takes two"):
        leave_one_dataset_out(SPAM, replace(leaky_data(), labelled=leaky_data().labelled[:1]))


def test_test_rows_neither_train_nor_test_without_a_look(parrots: list[Parrot]) -> None:
    data = leaky_data()
    test = {
        post.post_id for d in data.labelled for post in d.rows.where(d.rows.splits == "test").posts
    }
    cross_validate(SPAM, data, 0, 3)
    leave_one_dataset_out(SPAM, data)
    assert not {post.post_id for parrot in parrots for post in parrot.scored} & test
    parrots.clear()
    leave_one_dataset_out(SPAM, data, look=True)
    assert {post.post_id for parrot in parrots for post in parrot.scored} <= test
    texts = {text_fingerprint(p.text) for d in data.labelled for p in d.rows.split("test").posts}
    own = {text_fingerprint(p.text) for d in data.labelled for p in d.rows.without_test().posts}
    assert not {text for parrot in parrots for text in parrot.texts} & (texts - own)


def test_folds_keep_groups_whole_and_are_of_like_size() -> None:
    groups = ["a"] * 50 + ["b"] * 30 + ["c"] * 20 + [f"d{i}" for i in range(50)]
    folds = grouped_folds(groups, 3)
    assert all(
        len({f for g, f in zip(groups, folds, strict=True) if g == name}) == 1 for name in groups
    )
    assert np.bincount(folds).tolist() == [50, 50, 50]
    assert set(grouped_folds(["a", "b"], 5)) == {0, 1}
    with pytest.raises(UsageError, match="one group"):
        grouped_folds(["a", "a"], 5)


def test_evidence_that_is_not_read_is_not_in_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def fit(recipe: Recipe, *_: object) -> FittedParrot:
        read.append((recipe.evidence.views, recipe.evidence.groups))
        return FittedParrot(Parrot())

    monkeypatch.setattr(cross_validation, "fit", fit)
    given = training_data()
    for unread in (frozenset[str](), frozenset({"hosts"}), frozenset({"profanity"})):
        train_without(
            FILTERS["nsfw"],
            given,
            given.labelled[0].rows.split("validation"),
            TrainingBudget(unread=unread),
        )
    views, groups = FILTERS["nsfw"].evidence[:2]
    assert read == [(views, groups), (tuple(v for v in views if v != "hosts"), groups), (views, ())]
