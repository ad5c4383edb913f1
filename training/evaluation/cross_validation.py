"""Evaluate a filter's recipe by models trained for it: by grouped folds, or with a set left out.

A row is scored only by a model that learned neither the row, nor its group, nor its text, not even
to choose a threshold.  `drop_leaked` ensures it, across files too.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from feedmill.events.errors import UsageError
from feedmill.filters.model import FilterModel, FilterSpec
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.evaluation.filter_metrics import (
    DatasetReport,
    Mode,
    ScoredRows,
    dataset_report,
)
from feedmill.training.fitting.filters import fit
from feedmill.training.fitting.ngram_models import SEED
from feedmill.training.progress import Tell, silent
from feedmill.training.training_data import (
    MIN_VALIDATION_ROWS,
    Dataset,
    TrainingData,
    check_enough,
    recipe_for,
)

# Groups of columns that people wrote who had read the data sets.
HAND_WRITTEN = frozenset({"cues"})
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class TrainingBudget:
    """What bounds the training of models that are only evaluated.

    Attributes
    ----------
    alone
        Folds are trained on their own data set only, not on others nor on ordinary posts.
    ordinary_rows, labelled_rows
        The most rows of each ordinary source, and of each labelled data set, to train on.
    jobs
        How many models are trained at a time.
    unread
        The views and groups of columns of their evidence that the models do not read.
    tell
        Told how many models are trained.
    """

    alone: bool = False
    ordinary_rows: int | None = None
    labelled_rows: int | None = None
    jobs: int = 1
    unread: frozenset[str] = frozenset()
    tell: Tell = silent


_UNBOUNDED = TrainingBudget()


def grouped_folds(groups: Sequence[str], folds: int) -> list[int]:
    """Return a fold for each row: whole groups, the largest first, each to the smallest fold.

    Raises `UsageError` where all rows are of one group.
    """
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise UsageError(
            f"cannot divide {len(groups)} rows of one group into folds; give a finer group="
        )
    filled = [0] * min(folds, len(sizes))
    fold_of: dict[str, int] = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], name)):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return [fold_of[group] for group in groups]


def cross_validate(
    spec: FilterSpec,
    data: TrainingData,
    index: int,
    folds: int,
    budget: TrainingBudget = _UNBOUNDED,
) -> DatasetReport:
    """Evaluate one data set, each fold by a model of its other folds and of the other sets.

    `index` is the data set's among the labelled ones.  Test rows are in no fold.  Raises
    `UsageError`.
    """
    rows = data.labelled[index].rows.without_test()
    fold_of = np.array(grouped_folds(rows.groups, folds))
    held_out = [rows.where(fold_of == fold) for fold in range(int(fold_of.max()) + 1)]

    def evaluate(part: LabelledPosts) -> ScoredRows:
        return _scored(*train_without(spec, data, part, budget, own=index), part)

    parts = _map_in_threads(evaluate, held_out, budget, f"folds of {rows.source}")
    others = [] if budget.alone else _other_sources(data, index)
    note = (
        f"{len(held_out)} folds by group; learned from {' and '.join(['its other folds', *others])}"
    )
    if budget.alone or not data.ordinary:
        note += ", without ordinary posts"
    return dataset_report(rows.source, "alone" if budget.alone else "folds", note, parts)


@dataclass(frozen=True)
class LeftOut:
    """A model trained without the data set `index`, without or with hand-written lists."""

    index: int
    mode: Mode
    model: FilterModel
    training: list[LabelledPosts]


def leave_one_dataset_out(
    spec: FilterSpec, data: TrainingData, budget: TrainingBudget = _UNBOUNDED, *, look: bool = False
) -> list[DatasetReport]:
    """Evaluate each data set by a model of the other sets alone; raises `UsageError`.

    The rows are those of the test split if this is a `look`, else the others.
    """
    return [report_left_out(data, left, look=look) for left in models_left_out(spec, data, budget)]


def models_left_out(
    spec: FilterSpec, data: TrainingData, budget: TrainingBudget = _UNBOUNDED
) -> list[LeftOut]:
    """Train a model without each data set; raises `UsageError`.

    A filter that reads hand-written lists is trained without them, then with them: who wrote them
    had read all sets.
    """
    if len(data.labelled) < 2:
        raise UsageError("to leave one set out takes two or more; give more with --data")
    # Nothing of a set left out may train, whatever its groups.
    without = [replace(data, labelled=_others(data, index)) for index in range(len(data.labelled))]

    def train(case: tuple[int, Mode, TrainingBudget]) -> LeftOut:
        index, mode, budget = case
        trained = train_without(spec, without[index], data.labelled[index].rows, budget)
        return LeftOut(index, mode, *trained)

    modes: list[tuple[Mode, TrainingBudget]] = [("left out", replace(budget, unread=HAND_WRITTEN))]
    if HAND_WRITTEN & set(spec.evidence.groups):
        modes.append(("left out, with lexicon", budget))
    cases = [(index, *mode) for mode in modes for index in range(len(data.labelled))]
    return _map_in_threads(train, cases, budget, "sets left out")


def report_left_out(data: TrainingData, left_out: LeftOut, *, look: bool) -> DatasetReport:
    """Report a data set by the model that was trained without it."""
    rows = data.labelled[left_out.index].rows
    held_out = rows.split("test") if look else rows.without_test()
    part = _scored(left_out.model, left_out.training, held_out)
    note = f"learned from {' and '.join(_other_sources(data, left_out.index))}"
    return dataset_report(rows.source, left_out.mode, note, [part])


def _others(data: TrainingData, index: int) -> tuple[Dataset, ...]:
    return (*data.labelled[:index], *data.labelled[index + 1 :])


def _other_sources(data: TrainingData, index: int) -> list[str]:
    return [dataset.rows.source for dataset in _others(data, index)]


def _map_in_threads(
    work: Callable[[S], T], items: Sequence[S], budget: TrainingBudget, what: str
) -> list[T]:
    """Do the work for each item, `budget.jobs` at a time, and tell how many are done."""
    done = itertools.count(1)

    def and_tell(item: S) -> T:
        found = work(item)
        budget.tell(what, next(done), len(items))
        return found

    budget.tell(what, 0, len(items))
    with ThreadPoolExecutor(budget.jobs) as pool:
        try:
            return list(pool.map(and_tell, items))
        except BaseException:
            # At Ctrl-C, or where one fails: the others are not begun.
            pool.shutdown(cancel_futures=True)
            raise


def _scored(
    model: FilterModel, training: Sequence[LabelledPosts], held_out: LabelledPosts
) -> ScoredRows:
    rows = drop_leaked(held_out, training)
    return ScoredRows(rows, model.score_many(rows.posts), len(held_out) - len(rows))


def train_without(
    spec: FilterSpec,
    data: TrainingData,
    held_out: LabelledPosts,
    budget: TrainingBudget = _UNBOUNDED,
    own: int | None = None,
) -> tuple[FilterModel, list[LabelledPosts]]:
    """Train a filter on rows that share no group and no text with those held out.

    With `budget.alone` only the data set `own` trains.  Test rows never train.  Returns the model
    and what trained it; raises `UsageError`.
    """
    labelled = _labelled_without(data, own, held_out, budget)
    ordinary = _ordinary_without(data, held_out, budget)
    check_enough(labelled.rows, ordinary)
    recipe = recipe_for(spec, labelled.datasets)
    evidence = recipe.evidence._replace(
        views=tuple(view for view in recipe.evidence.views if view not in budget.unread),
        groups=tuple(group for group in recipe.evidence.groups if group not in budget.unread),
    )
    recipe = replace(recipe, evidence=evidence)
    fitted = fit(recipe, labelled.rows, ordinary)
    model = fitted.model(spec.name, "", spec.believed_self_labels)
    return model, [*labelled.rows, *ordinary]


class _Labelled(NamedTuple):
    """Data sets, and the rows of each to train on."""

    datasets: list[Dataset]
    rows: list[LabelledPosts]


def _labelled_without(
    data: TrainingData, own: int | None, held_out: LabelledPosts, budget: TrainingBudget
) -> _Labelled:
    """Return what may train a model that is evaluated on the rows held out."""
    training = _Labelled([], [])
    for position, dataset in enumerate(data.labelled):
        if budget.alone and position != own:
            continue
        rows = drop_leaked(dataset.rows.without_test(), [held_out])
        if len(rows):
            training.datasets.append(dataset)
            training.rows.append(_sampled(rows, budget.labelled_rows))
    return training


def _ordinary_without(
    data: TrainingData, held_out: LabelledPosts, budget: TrainingBudget
) -> list[LabelledPosts]:
    """Return the ordinary posts that may train the model or choose its thresholds."""
    if budget.alone:
        return []
    sources = [drop_leaked(rows.without_test(), [held_out]) for rows in data.ordinary_posts]
    return [
        _with_fewer_train_rows(rows, budget.ordinary_rows)
        for rows in sources
        if (rows.splits == "validation").sum() >= MIN_VALIDATION_ROWS
    ]


def _sampled(rows: LabelledPosts, max_rows: int | None) -> LabelledPosts:
    return rows if max_rows is None else rows.sample(max_rows, SEED)


def _with_fewer_train_rows(rows: LabelledPosts, max_rows: int | None) -> LabelledPosts:
    """Leave out rows to train on; those that choose thresholds stay, so that these are fine."""
    train = np.flatnonzero(rows.splits == "train")
    kept = np.ones(len(rows), dtype=np.bool_)
    if max_rows is not None and len(train) > max_rows:
        kept[train] = False
        kept[np.random.default_rng(SEED).choice(train, max_rows, replace=False)] = True
    return rows.where(kept)
