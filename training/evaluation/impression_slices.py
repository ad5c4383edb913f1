"""Slices of a product's later impressions: cold and warm, community, language, length, hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from feedmill.features.authorship import DAY_HOURS, hours_of_day
from feedmill.rankers.impressions import Impressions
from feedmill.training.arrays import Mask, Values, Weights
from feedmill.training.datasets.impression_arms import seen_before
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.ranker_metrics import log_losses, rate_calibration_error
from feedmill.training.evaluation.slices import language_of, length_band

_LEAST_OF_A_CLASS = 20
_MOST_COMMUNITIES = 10
# What a post has from so many counted impressions on.
_SEEN = ((0.0, "cold: none seen"), (1e-9, "to 100 seen"), (100.0, "warm: 100 seen or more"))
_HOURS_OF_A_PART = 6


class PredictionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How predictions of impressions do.

    Attributes
    ----------
    auc
        How often a clicked impression has a higher value than another.
    loss
        The log loss less that of the smoothed rate, in 1e-4 nats an impression; paired, by posts.
    calibration_error
        Over ten bins of equal weight, as a part of the click rate.
    """

    auc: float
    loss: Figure
    calibration_error: float


class ImpressionSlice(PredictionFigures, frozen=True, kw_only=True):
    """How engagement does on one slice, as ``hour`` and ``0 to 6 h UTC``, and how many clicked."""

    by: str
    value: str
    impressions: int
    click_rate: float


def impression_slices(rows: Impressions, values: Values, smoothed: Values) -> list[ImpressionSlice]:
    """Return the slices with 20 clicked impressions and 20 others; of communities the largest ten.

    `values` and `smoothed` are (rows,) predictions, of the ranker and of the smoothed rate.
    """
    return [
        _slice(by, value, rows, inside, (values, smoothed))
        for by, names in _names(rows)
        for value, inside in _largest(names, _MOST_COMMUNITIES if by == "community" else len(names))
        if _is_enough(rows.reacted("click")[inside])
    ]


def _names(rows: Impressions) -> Iterator[tuple[str, npt.NDArray[np.str_]]]:
    """Yield each way to slice, and the name of each row's slice: (rows,)."""
    starts = np.array([start for start, _ in _SEEN])
    seen = np.array([name for _, name in _SEEN], dtype=np.str_)
    yield "counts", seen[np.searchsorted(starts, rows.impressions, side="right") - 1]
    of_posts: Sequence[tuple[str, list[str]]] = (
        ("community", [post.communities[0] if post.communities else "" for post in rows.posts]),
        ("language", [language_of(post) for post in rows.posts]),
        ("length", [length_band(len(post.text)) for post in rows.posts]),
        ("hour", [_part_of_day(hour) for hour in hours_of_day(rows.posts).tolist()]),
    )
    for by, values in of_posts:
        yield by, np.array(values, dtype=np.str_)[rows.versions]


def _part_of_day(hour: int) -> str:
    first = hour // _HOURS_OF_A_PART * _HOURS_OF_A_PART
    return "unknown" if hour < 0 else f"{first} to {min(first + 6, DAY_HOURS)} h UTC"


def _largest(names: npt.NDArray[np.str_], most: int) -> Iterator[tuple[str, Mask]]:
    """Yield the slices with the most rows, by name."""
    found, counts = np.unique(names, return_counts=True)
    kept = found[np.argsort(-counts, kind="stable")[:most]]
    for name in sorted(kept.tolist(), key=lambda one: (len(one), one)):
        yield name, names == name


def _is_enough(clicked: npt.NDArray[np.bool_]) -> bool:
    clicks = int(clicked.sum())
    return min(clicks, len(clicked) - clicks) >= _LEAST_OF_A_CLASS


def _slice(
    by: str, value: str, rows: Impressions, inside: Mask, predicted: tuple[Values, Values]
) -> ImpressionSlice:
    some = rows.where(inside)
    values, smoothed = (column[inside] for column in predicted)
    return ImpressionSlice(
        by=by,
        value=value,
        impressions=len(some),
        click_rate=float(some.reacted("click").mean()),
        **prediction_figures(some, values, smoothed),
    )


def prediction_figures(rows: Impressions, values: Values, smoothed: Values) -> dict[str, Any]:
    """Return the `PredictionFigures` of (rows,) predictions, by name."""
    seen = seen_before(rows)
    less = (log_losses(values, seen.rate) - log_losses(smoothed, seen.rate)) * seen.rest
    rate = float((seen.rate * seen.rest).sum() / seen.rest.sum())
    return {
        "auc": float(roc_auc_score(rows.reacted("click"), values)),
        "loss": mean_loss(rows.versions, less, seen.rest),
        "calibration_error": rate_calibration_error(values, seen.rate, seen.rest) / rate,
    }


def mean_loss(posts: npt.NDArray[np.int64], losses: Values, weights: Values) -> Figure:
    """Return the mean of (rows,) weighted losses, in 1e-4 nats, with its interval by posts."""
    names, place = np.unique(posts, return_inverse=True)
    lost = np.bincount(place, losses, minlength=len(names))
    shown = np.bincount(place, weights, minlength=len(names))

    def measure(drawn: Weights) -> Values:
        return np.asarray((drawn @ lost / (drawn @ shown))[:, None] * 1e4)

    return Bootstrap([str(name) for name in names.tolist()]).figures(measure)[0]
