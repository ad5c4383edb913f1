"""Evaluates the recipe of engagement on a product's own impressions: on posts that came later.

A model learns from the impressions before a moment, and is measured on those of posts that were
created after it.  It is thrown away.  Slices are: cold and warm
posts, community, language, length, hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from feedmill.events.errors import UsageError
from feedmill.features.authorship import DAY_HOURS, hours_of_day
from feedmill.features.media import media_kinds
from feedmill.rankers.engagement import ExpectedClicks, posterior, prior_of
from feedmill.rankers.impressions import Impressions
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.training.arrays import Mask, Values, Weights
from feedmill.training.datasets.impression_arms import (
    ShownPosts,
    check_enough,
    seen_before,
    shown_posts,
)
from feedmill.training.evaluation.filter_evaluation import page_text, table
from feedmill.training.evaluation.filter_metrics import language_of, length_band
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.ranker_metrics import log_losses, rate_calibration_error
from feedmill.training.fitting.engagement import (
    FittedEngagement,
    SeenBefore,
    fit_impressions,
    fit_prior_weight,
)
from feedmill.training.fitting.linear_text import text_rows
from feedmill.training.recipes import ENGAGEMENT, EngagementRecipe

_LEAST_OF_A_CLASS = 20
_MOST_COMMUNITIES = 10
# What a post has from so many counted impressions on.
_SEEN = ((0.0, "cold: none seen"), (1e-9, "to 100 seen"), (100.0, "warm: 100 seen or more"))
_HOURS_OF_A_PART = 6

# So much of all impressions is of posts that the model may learn from.
TRAIN_SHARE = 0.8
_LEAST_CLICKS = 20


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
    for name in sorted(kept.tolist(), key=lambda name: (len(name), name)):
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


class OrderFigures(PredictionFigures, frozen=True, kw_only=True):
    """How one order, of this name, does on the later impressions."""

    name: str


class LaterPosts(msgspec.Struct, frozen=True):
    """The evaluation; how many impressions trained and tested, and of how many posts."""

    trained_on: int
    impressions: int
    posts: int
    click_rate: float
    orders: list[OrderFigures]
    slices: list[ImpressionSlice]


@dataclass(frozen=True)
class Split:
    """Impressions before a moment, and those of posts that were created after it."""

    before: Impressions
    after: Impressions


def evaluate_later_posts(
    recipe: EngagementRecipe, rows: Impressions, shipped: ExpectedClicks | None = None
) -> LaterPosts:
    """Train on the earlier impressions, and measure on those of later posts.

    `shipped` is measured beside it, on the same ones.  Raises `UsageError` where either are too
    few.
    """
    check_enough(rows)
    split = split_by_time(rows)
    check_enough(split.before)
    fitted = fit_impressions(recipe, split.before)
    shown = shown_posts(split.after)
    seen = seen_before(split.after)
    values = {**_values(recipe, fitted, split)}
    if shipped is not None:
        priors = shipped.prior_many(shown.posts)[shown.arms]
        values[f"shipped {shipped.version}"] = posterior(
            priors, seen.clicks, seen.impressions, shipped.prior_weight
        )
    rate = float((seen.rate * seen.rest).sum() / seen.rest.sum())
    smoothed = values["smoothed rate"]
    orders = [
        OrderFigures(name=name, **prediction_figures(split.after, predicted, smoothed))
        for name, predicted in values.items()
    ]
    slices = impression_slices(split.after, values["engagement"], smoothed)
    return LaterPosts(len(split.before), len(split.after), len(shown.posts), rate, orders, slices)


def shipped_engagement() -> ExpectedClicks:
    """Load the shipped engagement model; raises `BadArtifact`."""
    return ENGAGEMENT_RANKER.load()


def clicks_beside(shipped: ExpectedClicks, rows: Impressions) -> LaterPosts | str:
    """Return how both do on later posts; where these are too few, why they are not measured."""
    try:
        return evaluate_later_posts(ENGAGEMENT, rows, shipped)
    except UsageError as error:
        return str(error)


def markdown(found: LaterPosts) -> str:
    """Return the evaluation as a page."""
    orders = [
        [order.name, f"{order.auc:.3f}", str(order.loss), f"{order.calibration_error:.3f}"]
        for order in found.orders
    ]
    slices = [
        [
            *(part.by, part.value, f"{part.impressions:,}", f"{part.click_rate:.4f}"),
            *(f"{part.auc:.3f}", str(part.loss), f"{part.calibration_error:.3f}"),
        ]
        for part in found.slices
    ]
    of_slices = ["engagement, by", "slice", "impressions", "clicked", "AUC", "log loss"]
    lines = [
        f"Trained on {found.trained_on:,} impressions; {found.impressions:,} impressions of"
        f" {found.posts:,} posts that were created later test it. {found.click_rate:.4f} of these"
        " were clicked. The log loss is that less the smoothed rate's, in 1e-4 nats an impression.",
        "",
        *table(["order", "AUC", "log loss", "calibration error over the rate"], orders),
        "",
        *table([*of_slices, "calibration error"], slices, left=2),
    ]
    return page_text(lines)


def split_by_time(rows: Impressions) -> Split:
    """Divide impressions by a moment; those of older posts after it are left out.

    Raises `UsageError` where few are clicked after it.
    """
    created_ms = np.array([post.created_at_ms for post in rows.posts], dtype=np.int64)
    of_rows = created_ms[rows.versions]
    moment = np.quantile(of_rows, TRAIN_SHARE, method="higher")
    before, after = rows.where(rows.at_ms < moment), rows.where(of_rows >= moment)
    clicks = int(after.reacted("click").sum())
    if min(clicks, len(after) - clicks) < _LEAST_CLICKS:
        raise UsageError(
            f"too few impressions of later posts: expected {_LEAST_CLICKS} with a click and as many"
            f" without, found {clicks} and {len(after) - clicks}"
        )
    return Split(before, after)


def priors_of(fitted: FittedEngagement, shown: ShownPosts) -> Values:
    """Return what to expect of each post before anybody saw it: (posts,)."""
    texts = [post.text for post in shown.posts]
    rows = text_rows(texts, np.zeros(len(texts)), texts, media=media_kinds(shown.posts))
    effects = fitted.effects
    added = 0.0 if effects is None else effects.lift(hours_of_day(shown.posts), shown.authors)
    return prior_of(fitted.base, fitted.lifts_of(rows, added))


def _values(
    recipe: EngagementRecipe, fitted: FittedEngagement, split: Split
) -> Mapping[str, Values]:
    """Return the value of each later impression, (rows,), by the name of the order."""
    shown, seen = shown_posts(split.after), seen_before(split.after)
    priors = priors_of(fitted, shown)[shown.arms]
    without = priors_of(replace(fitted, effects=None), shown)[shown.arms]
    before = seen_before(split.before)
    base = float((before.rate * before.rest).sum() / before.rest.sum())
    moments = [SeenBefore(np.zeros(len(split.before), dtype=np.int64), before)]
    weight = fit_prior_weight(recipe, np.array([base]), moments)
    constant = np.full(len(split.after), base)
    return {
        "engagement": posterior(priors, seen.clicks, seen.impressions, fitted.prior_weight),
        "the prior alone": priors,
        "the text alone": without,
        "smoothed rate": posterior(constant, seen.clicks, seen.impressions, weight),
        "constant": constant,
    }
