"""What is measured of a filter on one data set, and what is reported of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from feedmill.events.gates import GatePolicy
from feedmill.models.text_model import TextModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.bars import Mode
from feedmill.training.evaluation.metrics import (
    Points,
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

# The default thresholds of a gate, to which every filter is calibrated.
HIDE_AT, DEMOTE_AT = float(GatePolicy().hide_at or 1), float(GatePolicy().demote_at or 1)
_WORST = 10


class FilterMetrics(msgspec.Struct, frozen=True):
    """What is measured on one data set; all but the counts are in [0, 1].

    `recall_at_1_percent` is the recall at the threshold that 1 % of the set's fine posts exceed,
    `recall_at_ordinary` the one at the threshold that 1 % of the ordinary posts exceed, where each
    ordinary source weighs alike.  Demoted means demoted or hidden.
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
    """A data set evaluated in one mode.

    Attributes
    ----------
    dropped
        The rows left out because the model had learned their group or their text.
    metrics
        The mean over `folds`.
    pooled_auc
        Of all rows together, although several models scored them.
    folds
        One for each model that scored a part of the data set.
    worst_fine, worst_violating
        Ids of posts, the worst first.
    calibration
        (rows, mean value, fraction violating) of each bin.
    """

    name: str
    mode: Mode
    note: str
    dropped: int
    metrics: FilterMetrics = msgspec.field(name="measures")
    pooled_auc: float
    folds: list[FilterMetrics]
    slices: list[Slice]
    worst_fine: list[str]
    worst_violating: list[str]
    roc: Points
    precision: Points
    calibration: list[tuple[int, float, float]]


class OrdinaryReport(msgspec.Struct, frozen=True):
    """The fractions of an ordinary source that are hidden and (else) demoted.

    `not_flagged_…` are those of its posts without Reddit's flag over_18.
    """

    source: str
    rows: int
    hidden: float
    demoted: float
    not_flagged_hidden: float
    not_flagged_demoted: float


@dataclass(frozen=True)
class ScoredRows:
    """Rows with the scores of a model that had learned none of them."""

    rows: LabelledPosts
    scores: Values
    metrics: FilterMetrics
    dropped: int


def filter_metrics(scores: Values, violating: Mask, ordinary: Sequence[Values]) -> FilterMetrics:
    """Measure a model's scores.

    Parameters
    ----------
    scores, violating
        (rows,) each.
    ordinary
        The same model's scores of ordinary posts, (rows,) for each source.
    """
    threshold = common_threshold(ordinary, 0.01)
    return FilterMetrics(
        len(scores),
        int(violating.sum()),
        roc_auc(scores, violating),
        average_precision(scores, violating),
        recall_at_fpr(scores, violating, 0.01),
        fraction(scores[violating] > threshold),
        calibration_error(scores, violating),
        fraction(scores[violating] >= DEMOTE_AT),
        fraction(scores[violating] >= HIDE_AT),
        fraction(scores[~violating] >= DEMOTE_AT),
        fraction(scores[~violating] >= HIDE_AT),
    )


def mean_metrics(folds: Sequence[FilterMetrics]) -> FilterMetrics:
    """Return the mean over folds, weighted by rows; the counts are summed.

    Folds with one class alone count in the sums only, as long as there are others.
    """
    with_both = [fold for fold in folds if 0 < fold.violating < fold.rows] or list(folds)
    weights = np.array([fold.rows for fold in with_both], dtype=np.float64)
    means = {
        name: float(np.average([getattr(fold, name) for fold in with_both], weights=weights))
        for name in FilterMetrics.__struct_fields__[2:]
    }
    return FilterMetrics(sum(f.rows for f in folds), sum(f.violating for f in folds), **means)


def dataset_report(name: str, mode: Mode, note: str, parts: Sequence[ScoredRows]) -> DatasetReport:
    """Report a data set whose parts were scored by one model each."""
    posts = [post for part in parts for post in part.rows.posts]
    scores = np.concatenate([part.scores for part in parts])
    labels = np.concatenate([part.rows.labels for part in parts])
    violating, folds = labels == 1, [part.metrics for part in parts]
    all_rows = LabelledPosts(name, posts, labels, [""] * len(posts), np.full(len(posts), "test"))
    worst_fine, worst_violating = _worst(scores, violating)
    return DatasetReport(
        name=name,
        mode=mode,
        note=note,
        dropped=sum(part.dropped for part in parts),
        metrics=mean_metrics(folds),
        pooled_auc=roc_auc(scores, violating),
        folds=folds,
        slices=slices_of(all_rows, scores, DEMOTE_AT),
        worst_fine=[posts[i].post_id for i in worst_fine],
        worst_violating=[posts[i].post_id for i in worst_violating],
        roc=roc_points(scores, violating),
        precision=precision_recall_points(scores, violating),
        calibration=calibration_bins(scores, violating),
    )


def _worst(scores: Values, violating: Mask) -> tuple[list[int], list[int]]:
    """Return the fine rows of the highest scores, and the violating rows of the lowest."""
    fine_first = np.argsort(np.where(violating, np.inf, -scores), kind="stable")
    violating_first = np.argsort(np.where(violating, scores, np.inf), kind="stable")
    fine, bad = min(_WORST, int((~violating).sum())), min(_WORST, int(violating.sum()))
    return fine_first[:fine].tolist(), violating_first[:bad].tolist()


def fine_scores(model: TextModel, rows: LabelledPosts) -> Values:
    """Score the posts that nobody flagged: (their number,)."""
    return model.score_many(rows.where(rows.labels == 0).posts)
