"""What an experiment is judged by: a metric is a line in its setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from feedmill.events.engagement import EngagementKind

MetricUnit = Literal["impression", "user", "reader"]
Better = Literal["more", "less"]
Cap = Annotated[float, Meta(gt=0, le=1e9)]
DwellMs = Annotated[float, Meta(ge=0, le=86_400_000)]


class Metric(Struct, frozen=True, forbid_unknown_fields=True):
    """What is summed for each user over the window, and how it becomes a figure.

    Attributes
    ----------
    per
        `impression`: the sum over the user's impressions, as a ratio of all users' sums.  `user`:
        the mean of users' sums.  `reader`: the share of users whose sum is not 0, for rare harms.
    kinds
        The kinds of engagement that count, `dwell` from `dwell_ms` on; with `per` impression an
        impression counts once.  Without kinds the sums come from elsewhere.
    unless
        The kinds after which an impression counts no more.
    dwell_ms
        From how many milliseconds on a dwell counts.
    cap
        The most that one user adds: of the sum, or with `per` impression of the impressions.  None
        for the 99.9th percentile of the experiment's users; 1e9 for no cap.
    better
        Whether more of it is better, or less.
    """

    per: MetricUnit
    kinds: tuple[EngagementKind, ...] = ()
    unless: tuple[EngagementKind, ...] = ()
    dwell_ms: DwellMs = 10_000.0
    cap: Cap | None = None
    better: Better = "more"


BUILT_IN_METRICS: Mapping[str, Metric] = {
    "take_rate": Metric("impression", ("dwell", "like", "reply", "share"), ("hide", "report")),
    "actions": Metric("user", ("like", "reply", "share")),
    "reporters": Metric("reader", ("report",), better="less"),
    "hiders": Metric("reader", ("hide",), better="less"),
}
