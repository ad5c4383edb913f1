"""Judge a filter: a stored model, by grouped cross-validation, and with a set left out.

In every mode a row judges only a model that neither it, nor its group, nor its text taught: neither
trained, nor chose a threshold.  `drop_leaked` sees to it, across files too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec
import numpy as np

from feedmill.events.errors import UsageError
from feedmill.events.gates import GatePolicy
from feedmill.models.artifact import ModelCard
from feedmill.models.text_model import TextModel
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.evaluation.metrics import (
    Mask,
    Points,
    Values,
    average_precision,
    calibration_bins,
    calibration_error,
    common_threshold,
    fraction,
    precision_recall_points,
    recall_at_fpr,
    roc_auc,
    roc_points,
)
from feedmill.training.evaluation.slices import Slice, slices_of
from feedmill.training.fitting.filters import fit
from feedmill.training.fitting.stacking import SEED
from feedmill.training.training_data import Dataset, TrainingData, check_enough, recipe_for

HIDE_AT, DEMOTE_AT = float(GatePolicy().hide_at or 1), float(GatePolicy().demote_at or 1)
Mode = Literal["stored", "folds", "alone", "left out"]
_WORST = 10
_FEWEST_TO_TUNE = 50
S = TypeVar("S")
T = TypeVar("T")


class FilterMetrics(msgspec.Struct, frozen=True):
    """What is measured of one set, all shares in [0, 1].

    `recall_at_ordinary` is the recall at the threshold that 1 % of ordinary posts exceed, each
    ordinary source weighing alike.  Demoted means demoted or hidden.
    """

    rows: int
    violating: int
    auc: float
    average_precision: float
    recall_at_1_percent: float
    recall_at_ordinary: float
    calibration_error: float
    caught_demoted: float
    caught_hidden: float
    fine_demoted: float
    fine_hidden: float


class DatasetReport(msgspec.Struct, frozen=True):
    """A set judged in one mode; `folds` has one entry for each model that judged a part of it.

    `measures` are the mean of the folds; `pooled_auc` is of all rows together, as scored by several
    models.
    """

    name: str
    mode: Mode
    note: str
    dropped: int  # rows that a model knew by group or text, and that judge nothing
    measures: FilterMetrics
    pooled_auc: float
    folds: list[FilterMetrics]
    slices: list[Slice]
    worst_fine: list[str]
    worst_violating: list[str]
    roc: Points
    precision: Points
    calibration: list[tuple[int, float, float]]


class OrdinaryReport(msgspec.Struct, frozen=True):
    """The shares of an ordinary source hidden and (else) demoted; `not_flagged`: not over_18."""

    source: str
    rows: int
    hidden: float
    demoted: float
    not_flagged_hidden: float
    not_flagged_demoted: float


@dataclass(frozen=True)
class TrainingBudget:
    """What bounds the training of models that only judge.

    `alone`: folds learn from their own set, not from others nor from ordinary posts.  Then: the
    most rows of each ordinary source, and of each labelled set, that a model learns from; how
    many models are trained at a time.
    """

    alone: bool = False
    ordinary_rows: int | None = None
    labelled_rows: int | None = None
    jobs: int = 1


_ALL = TrainingBudget()


def filter_metrics(scores: Values, bad: Mask, ordinary: Sequence[Values]) -> FilterMetrics:
    """Measure scores of rows, given the scores of ordinary posts by the same model."""
    threshold = common_threshold(ordinary, 0.01)
    return FilterMetrics(
        len(scores),
        int(bad.sum()),
        roc_auc(scores, bad),
        average_precision(scores, bad),
        recall_at_fpr(scores, bad, 0.01),
        fraction(scores[bad] > threshold),
        calibration_error(scores, bad),
        fraction(scores[bad] >= DEMOTE_AT),
        fraction(scores[bad] >= HIDE_AT),
        fraction(scores[~bad] >= DEMOTE_AT),
        fraction(scores[~bad] >= HIDE_AT),
    )


def mean_metrics(folds: Sequence[FilterMetrics]) -> FilterMetrics:
    """Return the mean over folds, by rows; folds with one class alone count only as rows."""
    ranked = [fold for fold in folds if 0 < fold.violating < fold.rows] or list(folds)
    weights = np.array([fold.rows for fold in ranked], dtype=np.float64)
    means = {
        name: float(np.average([getattr(fold, name) for fold in ranked], weights=weights))
        for name in FilterMetrics.__struct_fields__[2:]
    }
    return FilterMetrics(sum(f.rows for f in folds), sum(f.violating for f in folds), **means)


@dataclass(frozen=True)
class _Scored:
    """Rows with the scores of a model that knew none of them."""

    rows: LabelledPosts
    scores: Values
    measures: FilterMetrics
    dropped: int


def _report(name: str, mode: Mode, note: str, judged: Sequence[_Scored]) -> DatasetReport:
    posts = [post for part in judged for post in part.rows.posts]
    scores = np.concatenate([part.scores for part in judged])
    labels = np.concatenate([part.rows.labels for part in judged])
    bad, folds = labels == 1, [part.measures for part in judged]
    whole = LabelledPosts(name, posts, labels, [""] * len(posts), np.full(len(posts), "judge"))
    ids = [post.post_id for post in posts]
    fine_first = np.argsort(np.where(bad, np.inf, -scores), kind="stable")
    violating_first = np.argsort(np.where(bad, scores, np.inf), kind="stable")
    return DatasetReport(
        name,
        mode,
        note,
        sum(part.dropped for part in judged),
        mean_metrics(folds),
        roc_auc(scores, bad),
        folds,
        slices_of(whole, scores, DEMOTE_AT),
        [ids[i] for i in fine_first[: min(_WORST, int((~bad).sum()))]],
        [ids[i] for i in violating_first[: min(_WORST, int(bad.sum()))]],
        roc_points(scores, bad),
        precision_recall_points(scores, bad),
        calibration_bins(scores, bad),
    )


# --- a stored model ---------------------------------------------------------------------------


def evaluate_stored(model: TextModel, card: ModelCard, data: TrainingData) -> list[DatasetReport]:
    """Judge a model on what neither trained nor tuned it.

    Of a file that its card names, by sha256 or by name, the judge part; any other file whole.
    Raises `UsageError` for a file that its card split otherwise: its judge part cannot be told.
    """
    taught = [rows for s in (*data.labelled, *data.ordinary) if (rows := training_rows(card, s))]
    ordinary = [
        scores
        for sample in data.ordinary
        if len(scores := fine_scores(model, drop_leaked(test_rows(card, sample), taught)))
    ]
    reports = []
    for sample in data.labelled:
        rows = test_rows(card, sample)
        held = drop_leaked(rows, taught)
        if not len(held):
            raise UsageError(
                f"`{sample.rows.source}`: every row of it trained or tuned {card.name}"
            )
        scores = model.score_many(held.posts)
        measures = filter_metrics(scores, held.labels == 1, ordinary)
        judged = _Scored(held, scores, measures, len(rows) - len(held))
        reports.append(_report(held.source, "stored", _note(card, data, sample), [judged]))
    return reports


def _entry(card: ModelCard, sample: Dataset) -> tuple[bool, bool]:
    """Tell if the card names the sample's file, and if it is the very same file."""
    entries = [d for d in card.data if d.file == sample.known.file or _same(d.sha256, sample)]
    for use in entries:
        if use.split and use.split != sample.known.table.split:
            raise UsageError(
                f"{sample.known.file} taught `{card.name}@{card.version}`, split {use.split}; it "
                f"cannot judge it split {sample.known.table.split}: name that column, or call it "
                "by no options"
            )
    return bool(entries), any(_same(use.sha256, sample) for use in entries)


def _same(digest: str, sample: Dataset) -> bool:
    return bool(digest) and digest == sample.sha256


def test_rows(card: ModelCard, sample: Dataset) -> LabelledPosts:
    """Return the rows of a file that may judge the card's model."""
    return sample.rows.part("judge") if _entry(card, sample)[0] else sample.rows


def training_rows(card: ModelCard, sample: Dataset) -> LabelledPosts | None:
    """Return the rows of a file that trained or tuned the card's model, None of a strange file."""
    if not _entry(card, sample)[0]:
        return None
    return sample.rows.where(sample.rows.parts != "judge")


def _note(card: ModelCard, data: TrainingData, sample: Dataset) -> str:
    named, same = _entry(card, sample)
    if named and same:
        return "the judge part of a file that trained it"
    if named:
        return "the judge part of a file named like one that trained it, of other or unknown sha256"
    given = {s.known.file for s in (*data.labelled, *data.ordinary)}
    missing = [use.file for use in card.data if use.file not in given]
    if missing:
        return f"a file it never saw; its rows were not looked for in {', '.join(missing)}"
    return "a file it never saw"


def fine_scores(model: TextModel, rows: LabelledPosts) -> Values:
    """Score the ordinary posts that nobody flagged."""
    return model.score_many(rows.where(rows.labels == 0).posts)


def evaluate_ordinary(
    models: Sequence[tuple[TextModel, ModelCard]], data: Sequence[Dataset]
) -> list[OrdinaryReport]:
    """Return what the models, together, hide and else demote of each ordinary source."""
    reports = []
    for sample in data:
        rows = sample.rows
        for _, card in models:
            if training_rows(card, sample) is not None:
                rows = sample.rows.part("judge")
        worst = np.max([model.score_many(rows.posts) for model, _ in models], axis=0)
        hidden = worst >= HIDE_AT
        demoted = (worst >= DEMOTE_AT) & ~hidden
        fine = rows.labels == 0
        shares = (
            fraction(hidden),
            fraction(demoted),
            fraction(hidden[fine]),
            fraction(demoted[fine]),
        )
        reports.append(OrdinaryReport(rows.source, len(rows), *shares))
    return reports


# --- models trained to be judged ----------------------------------------------------------------


def grouped_folds(groups: Sequence[str], folds: int) -> list[int]:
    """Return a fold for each row: whole groups, the largest first, each to the smallest fold."""
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise UsageError(f"cannot part {len(groups)} rows of one group into folds; group= finer")
    filled = [0] * min(folds, len(sizes))
    fold_of: dict[str, int] = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], name)):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return [fold_of[group] for group in groups]


def cross_validate(
    name: str, data: TrainingData, index: int, folds: int, cost: TrainingBudget = _ALL
) -> DatasetReport:
    """Judge one set by models that learned from its other folds and from the other sets."""
    rows = data.labelled[index].rows
    fold_of = np.array(grouped_folds(rows.groups, folds))
    held = [np.asarray(fold_of == fold) for fold in range(int(fold_of.max()) + 1)]
    judged = _each(lambda mask: _evaluate_without(name, data, index, mask, cost), held, cost.jobs)
    others = [s.rows.source for i, s in enumerate(data.labelled) if i != index and not cost.alone]
    note = f"{len(held)} folds by group; learned from {' and '.join(['its other folds', *others])}"
    if cost.alone or not data.ordinary:
        note += ", without ordinary posts"
    return _report(rows.source, "alone" if cost.alone else "folds", note, judged)


def leave_one_dataset_out(
    name: str, data: TrainingData, cost: TrainingBudget = _ALL
) -> list[DatasetReport]:
    """Judge each set by a model that learned from the other sets alone."""
    if len(data.labelled) < 2:
        raise UsageError("to leave one set out takes two or more; give more with --data")

    def judge(index: int) -> DatasetReport:
        rows = data.labelled[index].rows
        others = [s.rows.source for i, s in enumerate(data.labelled) if i != index]
        judged = _evaluate_without(name, data, index, np.ones(len(rows), dtype=np.bool_), cost)
        return _report(rows.source, "left out", f"learned from {' and '.join(others)}", [judged])

    return _each(judge, range(len(data.labelled)), cost.jobs)


def _each(work: Callable[[S], T], items: Sequence[S], jobs: int) -> list[T]:
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(work, items))


def _evaluate_without(
    name: str, data: TrainingData, index: int, mask: Mask, cost: TrainingBudget
) -> _Scored:
    """Train without the rows of `mask` of one set, and judge on them."""
    held = data.labelled[index].rows.where(mask)
    samples, learn = [], []
    for position, sample in enumerate(data.labelled):
        if cost.alone and position != index:
            continue
        rows = sample.rows.where(~mask) if position == index else sample.rows
        rows = drop_leaked(rows, [held])
        if len(rows):
            samples.append(sample)
            learn.append(_at_most(rows, cost.labelled_rows))
    taught, judges = [], []
    for source in data.clean:
        rows = drop_leaked(source.where(source.parts != "judge"), [held])
        if not cost.alone and (rows.parts == "tune").sum() >= _FEWEST_TO_TUNE:
            taught.append(_fewer_to_train(rows, cost.ordinary_rows))
        judges.append(drop_leaked(source.part("judge"), learn))
    check_enough(learn, taught)
    model = fit(recipe_for(name, samples), learn, taught).model(name, "")
    clean = drop_leaked(held, [*learn, *taught])
    scores = model.score_many(clean.posts)
    ordinary = [fine_scores(model, drop_leaked(rows, taught)) for rows in judges]
    measures = filter_metrics(scores, clean.labels == 1, ordinary)
    return _Scored(clean, scores, measures, len(held) - len(clean))


def _at_most(rows: LabelledPosts, most: int | None) -> LabelledPosts:
    return rows if most is None else rows.sample(most, SEED)


def _fewer_to_train(rows: LabelledPosts, most: int | None) -> LabelledPosts:
    """Leave rows to train out; those that choose thresholds stay, or the choice would be coarse."""
    train = np.flatnonzero(rows.parts == "train")
    kept = np.ones(len(rows), dtype=np.bool_)
    if most is not None and len(train) > most:
        kept[train] = False
        kept[np.random.default_rng(SEED).choice(train, most, replace=False)] = True
    return rows.where(kept)
