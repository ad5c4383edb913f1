"""What everybody got of a change of weights: two weeks before it and two after, by feed or by day.

The two days after the change are left out: until then posts have counts from the old lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from feedmill.events.errors import UsageError
from feedmill.events.metric import BUILT_IN_METRICS
from feedmill.experiments.anytime_intervals import Values
from feedmill.experiments.export_folder import DAY_MS, ExportFolder, out_of_core
from feedmill.experiments.join import IMPRESSION, of_post

DAYS, LEFT_OUT = 14, 2
# So many feeds with the change, and so many without, tell its effect from their own ups and downs.
FEEDS = 20
METRIC = "take_rate"
_SHUFFLES, _SEED, _ALPHA = 10_000, 55, 0.05


@dataclass(frozen=True)
class AfterChange:
    """A change of the take-rate, in parts of what it was, with its 95 % interval.

    `p` is that of the randomisation test, None where days are compared.
    """

    change: float
    lower: float
    upper: float
    feeds: int
    others: int
    p: float | None = None


def daily(
    export: ExportFolder, feeds: Sequence[str], change_ms: int
) -> Mapping[str, tuple[Values, Values]]:
    """Return by feed its takes and impressions by day, before and after: twice (2, `DAYS`).

    Raises
    ------
    UsageError
        The export does not have all these days.
    """
    first_ms, end_ms = change_ms - DAYS * DAY_MS, change_ms + (DAYS + LEFT_OUT) * DAY_MS
    if export.last is None or export.last.through_ms < end_ms:
        missing = (end_ms - (export.last.through_ms if export.last else change_ms)) / DAY_MS
        raise UsageError(
            f"{export.path}: expected {DAYS + LEFT_OUT} days after the change, {missing:.1f} are"
            " missing; export again when they are over"
        )
    with out_of_core(export.path) as db:
        rows = db.execute(
            f"""
            SELECT feed, "day", sum(seen)::BIGINT, sum(taken)::BIGINT FROM (
                SELECT feed, least(count(*) FILTER (kind = {IMPRESSION}), 1) AS seen,
                    ({of_post(BUILT_IN_METRICS[METRIC])})::BIGINT AS taken,
                    (coalesce(min(at_ms) FILTER (kind = {IMPRESSION}), min(at_ms)) - {first_ms})
                        // {DAY_MS} AS "day"
                FROM read_parquet(?)
                WHERE feed IN (SELECT unnest(?)) AND at_ms >= ? AND at_ms < ?
                GROUP BY "user", post, feed
            ) GROUP BY ALL
            """,
            [export.files("engagements"), list(feeds), first_ms, end_ms],
        ).fetchall()
    found = {feed: np.zeros((2, 2 * DAYS + LEFT_OUT)) for feed in feeds}
    for feed, day, seen, taken in rows:
        found[feed][:, day] = taken, seen
    empty = [feed for feed, one in found.items() if not one[1, :DAYS].all()]
    if empty:
        raise UsageError(
            f"{export.path}: expected impressions on each of {DAYS} days before the change, a day"
            f" has none in {', '.join(empty[:5])}; leave these feeds out, or export more"
        )
    return {feed: (one[:, :DAYS], one[:, DAYS + LEFT_OUT :]) for feed, one in found.items()}


def feeds_of(export: ExportFolder, before: str) -> list[str]:
    """Return the feeds in an export whose names begin so."""
    with out_of_core(export.path) as db:
        rows = db.execute(
            "SELECT DISTINCT feed FROM read_parquet(?) WHERE starts_with(feed, ?) ORDER BY feed",
            [export.files("engagements"), before],
        ).fetchall()
    return [feed for (feed,) in rows]


def by_feed(changed: Sequence[Values], others: Sequence[Values]) -> AfterChange:
    """Compare feeds with a change that was drawn with those without it.

    Each feed has its takes and impressions before and after: (2, 2).  The test draws again which
    feeds have the change; the interval is by draws of what is left without the effect.
    """
    moved, still = (
        np.array([np.log(one[0, 1] / one[1, 1]) - np.log(one[0, 0] / one[1, 0]) for one in some])
        for some in (changed, others)
    )
    effect = moved.mean() - still.mean()
    rng = np.random.default_rng(_SEED)
    order = rng.permuted(np.tile(np.arange(len(moved) + len(still)), (_SHUFFLES, 1)), axis=1)
    own, rest = order[:, : len(moved)], order[:, len(moved) :]

    def drawn(values: Values) -> Values:
        return np.asarray(np.abs(values[own].mean(axis=1) - values[rest].mean(axis=1)))

    as_is = drawn(np.concatenate([moved, still]))
    away = drawn(np.concatenate([moved - moved.mean(), still - still.mean()]))
    reach = float(np.quantile(away, 1 - _ALPHA))
    p = float((1 + (as_is >= abs(effect)).sum()) / (1 + _SHUFFLES))
    change, lower, upper = np.expm1([effect, effect - reach, effect + reach]).tolist()
    return AfterChange(change, lower, upper, len(moved), len(still), p)


def by_day(before: Values, after: Values, feeds: int = 1, others: int = 0) -> AfterChange:
    """Compare the logarithms of levels by day before and after a change: two of (days,).

    Days that follow each other are alike: the error is stretched by their autocorrelation, with
    what its estimate lacks in so few days.
    """
    away = [one - one.mean() for one in (before, after)]
    days = [len(one) for one in away]
    freedom = sum(days) - 2
    variance = sum(float(one @ one) for one in away) / freedom
    together = sum(float(one[1:] @ one[:-1]) for one in away)
    seen = together / max(variance * freedom, 1e-300)
    alike = min(max(seen + (1 + 3 * max(seen, 0.0)) / min(days), 0.0), 0.8)
    stretch = (1 + alike) / (1 - alike)
    error = np.sqrt(variance * stretch * (1 / days[0] + 1 / days[1]))
    reach = float(student.isf(_ALPHA / 2, max(freedom / stretch, 2.0)) * error)
    effect = float(after.mean() - before.mean())
    change, lower, upper = np.expm1([effect, effect - reach, effect + reach]).tolist()
    return AfterChange(change, lower, upper, feeds, others)


def after_change(found: Mapping[str, tuple[Values, Values]], changed: Sequence[str]) -> AfterChange:
    """Compare by feed where enough have the change and enough have not, else by day."""
    others = [feed for feed in found if feed not in changed]
    if min(len(changed), len(others)) >= FEEDS:
        sums = {
            feed: np.stack([one.sum(axis=1) for one in both], 1) for feed, both in found.items()
        }
        return by_feed([sums[feed] for feed in changed], [sums[feed] for feed in others])

    def level(side: int) -> Values:
        own, rest = (
            np.sum([found[feed][side] for feed in some], axis=0) for some in (changed, others)
        )
        level = np.log(own[0] / own[1])
        return np.asarray(level - np.log(rest[0] / rest[1]) if others else level)

    return by_day(level(0), level(1), len(changed), len(others))
