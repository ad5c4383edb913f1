"""What is measured of a filter on one data set, and what is reported of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.evaluation.curves import Curves, curves_of
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.metrics import calibration_error, ranking
from feedmill.training.evaluation.slices import Slice, slices_of

Mode = Literal["stored", "folds", "alone", "left out", "left out, with lexicon"]
_WORST = 10
# A group with more of the violating rows than this is shown apart.
_LARGE_GROUP = 0.05


class FilterMetrics(msgspec.Struct, frozen=True):
    """What is measured on one data set; figures are in [0, 1].

    `recall_at_1_percent` is the recall at the threshold that 1 % of the set's fine posts reach.
    Demoted means demoted or hidden, at the shipped thresholds.
    """

    rows: int
    violating: int
    groups: int
    auc: Figure
    average_precision: Figure
    recall_at_1_percent: Figure
    calibration_error: Figure
    caught_demoted: Figure
    caught_hidden: Figure
    fine_demoted: Figure
    fine_hidden: Figure


class LargeGroup(msgspec.Struct, frozen=True):
    """A group that has more than 5 % of the violating rows.

    `inside` is measured on its rows, `without` on all others, None if no violating row is left.
    """

    name: str
    part_of_violating: float
    inside: FilterMetrics
    without: FilterMetrics | None


class DatasetReport(msgspec.Struct, frozen=True):
    """A data set evaluated in one mode.

    Attributes
    ----------
    dropped
        The rows left out because the model had learned their group or their text.
    large_groups
        The largest first.
    worst_fine, worst_violating
        Ids of posts, the worst first.
    """

    name: str
    mode: Mode
    note: str
    dropped: int
    metrics: FilterMetrics = msgspec.field(name="measures")
    large_groups: list[LargeGroup]
    slices: list[Slice]
    worst_fine: list[str]
    worst_violating: list[str]
    curves: Curves


@dataclass(frozen=True)
class ScoredRows:
    """Rows with the scores of a model that had learned none of them."""

    rows: LabelledPosts
    scores: Values
    dropped: int


def filter_metrics(scores: Values, violating: Mask, groups: Sequence[str]) -> FilterMetrics:
    """Measure scores; `scores`, `violating` and `groups` have an entry for each row."""
    bootstrap = Bootstrap(groups)
    auc, average_precision, recall = bootstrap.figures(
        lambda weights: ranking(scores, violating, weights)
    )
    (calibration,) = bootstrap.figures(
        lambda weights: calibration_error(scores, violating, weights)[:, None]
    )
    return FilterMetrics(
        len(scores),
        int(violating.sum()),
        bootstrap.groups,
        auc,
        average_precision,
        recall,
        calibration,
        bootstrap.fraction(scores >= DEMOTE_AT, violating),
        bootstrap.fraction(scores >= HIDE_AT, violating),
        bootstrap.fraction(scores >= DEMOTE_AT, ~violating),
        bootstrap.fraction(scores >= HIDE_AT, ~violating),
    )


def dataset_report(
    name: str,
    mode: Mode,
    note: str,
    parts: Sequence[ScoredRows],
) -> DatasetReport:
    """Report a data set whose parts were scored by one model each; the rows count together."""
    rows = concatenate([part.rows for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    violating = rows.labels == 1
    worst_fine, worst_violating = _worst(scores, violating)
    return DatasetReport(
        name=name,
        mode=mode,
        note=note,
        dropped=sum(part.dropped for part in parts),
        metrics=filter_metrics(scores, violating, rows.groups),
        large_groups=_large_groups(scores, violating, rows.groups),
        slices=slices_of(rows, scores, DEMOTE_AT),
        worst_fine=[rows.posts[i].post_id for i in worst_fine],
        worst_violating=[rows.posts[i].post_id for i in worst_violating],
        curves=curves_of(scores, violating),
    )


def _large_groups(scores: Values, violating: Mask, groups: Sequence[str]) -> list[LargeGroup]:
    group_of = np.asarray(groups, dtype=np.str_)
    counts, total = Counter(group_of[violating].tolist()), int(violating.sum())
    large = []
    for group, count in counts.most_common():
        if count <= _LARGE_GROUP * total:
            break
        inside = group_of == group
        parts = [
            filter_metrics(scores[rows], violating[rows], group_of[rows].tolist())
            if violating[rows].any()
            else None
            for rows in (inside, ~inside)
        ]
        if parts[0] is not None:
            large.append(LargeGroup(group.partition("|")[2], count / total, parts[0], parts[1]))
    return large


def _worst(scores: Values, violating: Mask) -> tuple[list[int], list[int]]:
    """Return the fine rows of the highest scores, and the violating rows of the lowest."""
    fine_first = np.argsort(np.where(violating, np.inf, -scores), kind="stable")
    violating_first = np.argsort(np.where(violating, scores, np.inf), kind="stable")
    fine, bad = min(_WORST, int((~violating).sum())), min(_WORST, int(violating.sum()))
    return fine_first[:fine].tolist(), violating_first[:bad].tolist()
