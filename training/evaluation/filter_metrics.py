"""What is measured of a filter on one data set: metrics with their intervals, slices, and curves.

Metrics are computed under the weights of many bootstrap draws at once; scikit-learn has the metrics
of one draw.  A draw by scikit-learn takes a sort and its checks of the input: a thousand draws of a
set would take seconds instead of milliseconds.
`tests/training/evaluation/test_filter_metrics.py` compares both.  scikit-learn gives the
points of the curves, and matplotlib draws the curves.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.events.post import Post
from feedmill.training.arrays import Mask, Values, Weights
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.evaluation.intervals import Bootstrap, Figure

Points = list[tuple[float, float]]
_CURVE_BINS, _MOST_POINTS = 15, 80

# The most characters of each band of lengths; the last band has none.
LENGTHS = (100, 200, 400, 2_000)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_LETTER = re.compile(r"[^\W\d_]")
_MIN_SLICE_ROWS = 20
Mode = Literal["stored", "folds", "alone", "left out", "left out, with lexicon"]
_WORST = 10
# A group with more of the violating rows than this is shown apart.
_LARGE_GROUP = 0.05


class Curves(msgspec.Struct, frozen=True):
    """The points (x, y) of each curve; without both classes `roc` and `precision` have none.

    Attributes
    ----------
    roc
        (false positive rate, recall).
    precision
        (recall, precision), from the highest score down.
    calibration
        (mean value, fraction violating) of each bin of equal width with rows.
    """

    roc: Points
    precision: Points
    calibration: Points


def curves_of(scores: Values, violating: Mask) -> Curves:
    """Return the curves of (rows,) scores in [0, 1]."""
    hits, means = calibration_curve(violating, scores, n_bins=_CURVE_BINS)
    calibration = _points(means, hits)
    if violating.all() or not violating.any():
        return Curves([], [], calibration)
    false_alarms, recall, _ = roc_curve(violating, scores)
    precision, recalled, _ = precision_recall_curve(violating, scores, drop_intermediate=True)
    return Curves(
        _points(false_alarms, recall), _points(recalled[::-1], precision[::-1]), calibration
    )


def _points(across: Values, up: Values) -> Points:
    """Return the points as pairs, at most 80 of them with both ends."""
    kept = np.unique(np.linspace(0, len(across) - 1, _MOST_POINTS).astype(np.int64))
    return [(float(across[i]), float(up[i])) for i in kept]


def svg(title: str, curves: Curves) -> str:
    """Return the curves side by side as SVG; the same curves give the same bytes."""
    from matplotlib import rc_context  # noqa: PLC0415 - slow to import, and needed for files alone
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "feedmill", "font.size": 8}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        figure.suptitle(title)
        panels = (
            ("false positive rate", "recall", curves.roc, "-"),
            ("recall", "precision", curves.precision, "-"),
            ("probability", "share violating", curves.calibration, "o-"),
        )
        for axes, (across, up, points, style) in zip(figure.subplots(1, 3), panels, strict=True):
            axes.set(xlabel=across, ylabel=up, xlim=(0, 1), ylim=(0, 1), aspect="equal")
            if up != "precision":
                axes.plot((0, 1), (0, 1), color="#ccc")
            axes.plot([x for x, _ in points], [y for _, y in points], style, markersize=3)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def ranking(scores: Values, positive: Mask, weights: Weights) -> Values:
    """Return ROC AUC, average precision and the recall at 1 % false positives, ties exact.

    The recall is that at the lowest threshold that at most 1 % of the others reach.

    Parameters
    ----------
    scores, positive
        (rows,) each.
    weights
        (draws, rows): what the rows weigh in each draw.

    Returns
    -------
    (draws, 3), NaN where a draw has one class alone.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    drawn = weights[:, order]
    hits = np.cumsum(drawn * positive[order], axis=1)[:, last]
    others = np.cumsum(drawn * ~positive[order], axis=1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, false_alarms = hits / hits[:, -1:], others / others[:, -1:]
        gained = np.diff(recall, prepend=0.0, axis=1)
        tied = np.diff(false_alarms, prepend=0.0, axis=1)
        auc = (gained * (1 - false_alarms + tied / 2)).sum(axis=1)
        seen = hits + others
        precision = (gained * hits / np.where(seen > 0, seen, 1.0)).sum(axis=1)
    allowed = false_alarms <= 0.01 + 1e-9
    at_1_percent = np.where(allowed, recall, 0.0).max(axis=1)
    both = (hits[:, -1] > 0) & (others[:, -1] > 0)
    return np.where(both[:, None], np.stack([auc, precision, at_1_percent], axis=1), np.nan)


def calibration_error(values: Values, positive: Mask, weights: Weights, bins: int = 15) -> Values:
    """Return the expected calibration error (Naeini et al. 2015) of probabilities in [0, 1].

    `values` and `positive` are (rows,) each, `weights` (draws, rows); returns (draws,).
    """
    bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)
    # What a row adds to its bin: the sum of probabilities less that of the positives.
    gaps = np.zeros((len(values), bins))
    gaps[np.arange(len(values)), bin_of] = values - positive
    total: Values = np.abs(weights @ gaps).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    return total


class Slice(msgspec.Struct, frozen=True):
    """How a filter does on one slice.

    `caught` and `false_alarms` are the fractions of violating and of fine posts that reach the
    threshold.
    """

    by: str
    value: str
    rows: int
    violating: int
    auc: Figure
    caught: Figure
    false_alarms: Figure


def slices_of(rows: LabelledPosts, scores: Values, threshold: float) -> list[Slice]:
    """Return the slices with at least 20 rows.

    `scores` are (rows,); a post of at least `threshold` counts as caught.
    """
    slices = []
    for by, values in (
        ("language", [language_of(post) for post in rows.posts]),
        ("length", [length_band(len(post.text)) for post in rows.posts]),
    ):
        names = np.array(values, dtype=np.str_)
        for value in sorted(set(values), key=lambda name: (len(name), name)):
            inside = names == value
            if inside.sum() >= _MIN_SLICE_ROWS:
                slices.append(_slice(by, value, rows.where(inside), scores[inside], threshold))
    return slices


def _slice(by: str, value: str, rows: LabelledPosts, scores: Values, threshold: float) -> Slice:
    violating: Mask = rows.labels == 1
    bootstrap = Bootstrap(rows.groups)
    auc = bootstrap.figures(lambda weights: ranking(scores, violating, weights)[:, :1])[0]
    return Slice(
        by,
        value,
        len(scores),
        int(violating.sum()),
        auc,
        bootstrap.fraction(scores >= threshold, violating),
        bootstrap.fraction(scores >= threshold, ~violating),
    )


def length_band(characters: int) -> str:
    """Return the band that a text of so many characters belongs to."""
    for most in LENGTHS:
        if characters <= most:
            return f"to {most:,}"
    return f"above {LENGTHS[-1]:,}"


def language_of(post: Post) -> str:
    """Return the language that a post states, else the script of its text."""
    return post.lang or _script(post.text)


def _script(text: str) -> str:
    letters = len(_LETTER.findall(text))
    return "latin script" if 2 * len(_LATIN.findall(text)) >= letters else "other script"


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
