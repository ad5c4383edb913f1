"""One stream of values against the same hour of earlier days: whether it looks the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any, Literal

import msgspec
import numpy as np

from feedmill.events.errors import UsageError
from feedmill.models.daily_profile import (
    BINS,
    HOURS,
    Counts,
    DailyProfile,
    bins_of,
    stability_index,
)
from feedmill.streams.kafka.topic_table import HOUR_MS

try:
    from river.drift import ADWIN
except ImportError as error:
    raise UsageError(
        "`feedmill models watch` needs river; install it: pip install 'feedmill[watch]'"
    ) from error

Kind = Literal["score", "share"]
State = Literal["learning", "stable", "drift"]

# Of an hour of the day, before values are compared with it; and of an hour, for its index.
LEAST_VALUES = 1000
# The usual limit of "the population has changed". A thousand values each side make it no chance.
LEAST_INDEX = 0.25
# A value is above one of earlier days with a probability beyond 0.6 or below 0.4.
LEAST_SHIFT = 0.1
# A share has risen or fallen by this factor.
LEAST_FACTOR = 1.3
# An alarm ends when all is within half of the limits, so that it does not flicker.
_END = 0.5
# So many values at once are ranked, then the state is looked at.
SLICE = 100
_LEAST_WIDTH = 100
# The logarithm of how unlikely chance is at one look, e^-18: a million looks raise none.
_CERTAINTY = 18.0


class ShiftDetector:
    """Whether the mean of mid-ranks has moved from a half: river's ADWIN, and two limits.

    It takes the ranks of one stream in order.  ADWIN (Bifet and Gavalda 2007) keeps the longest
    window of the newest values that has one mean, in memory that grows with the logarithm of its
    width.
    """

    def __init__(self) -> None:
        self._window: Any = ADWIN()

    def update_many(self, ranks: Iterable[float]) -> None:
        """Take the next ranks, each in [0, 1]."""
        for rank in ranks:
            self._window.update(rank)

    @property
    def shift(self) -> float:
        """How far the mean of the window is from a half, in [-0.5, 0.5]; 0 before any rank."""
        return float(self._window.estimation) - 0.5 if self._window.width else 0.0

    def is_certain(self, variance: float, reference: float) -> bool:
        """Whether the shift is more than chance, by Bernstein's inequality.

        Parameters
        ----------
        variance
            Of the ranks where nothing has changed.
        reference
            From how many earlier values the ranks were made.
        """
        width = int(self._window.width)
        if width < _LEAST_WIDTH:
            return False
        scale = 1 / width + 1 / reference
        # The second term holds for rare events; a rank is at most a half from its mean.
        limit = sqrt(2 * variance * _CERTAINTY * scale) + _CERTAINTY / 6 * scale
        return abs(self.shift) >= limit


class SavedWatch(msgspec.Struct, frozen=True):
    """What outlives a process: the profile, and the hour that runs (since 1970) with its counts."""

    profile: list[list[float]]
    counts: list[float]
    hour: int


class ValueWatch:
    """Values of one kind; `kind` "share" says that each is 0 or 1.

    Attributes
    ----------
    state
        "learning" while the hour of the day has fewer than `LEAST_VALUES` of earlier days.
    values
        How many came in this hour.
    index
        The population stability index of this hour; None before `LEAST_VALUES` of each side.
    alarms
        How many began.
    """

    def __init__(self, kind: Kind, saved: SavedWatch | None = None) -> None:
        self.kind = kind
        self.state: State = "learning"
        self.index: float | None = None
        self.alarms = 0
        self.hour = -1
        self._profile = DailyProfile()
        self._counts = np.zeros(BINS)
        self._detector = ShiftDetector()
        self._ranks: Counts | None = None
        self._variance = 0.0
        if saved is not None:
            self._profile, self._counts = DailyProfile(saved.profile), np.array(saved.counts)
            if self._counts.shape != (BINS,):
                raise ValueError(f"expected {BINS} counts, got {self._counts.shape}")
            self.hour = saved.hour
            self._begin_hour()

    @property
    def values(self) -> int:
        return int(self._counts.sum())

    @property
    def shift(self) -> float:
        """How far the mean rank among the values of earlier days is from a half."""
        return self._detector.shift

    def update_many(self, values: Sequence[float], at_ms: int) -> None:
        """Take the next values, each in [0, 1], of one time (Unix ms); an older time is now's."""
        hour = at_ms // HOUR_MS
        if hour > self.hour:
            if self.hour >= 0:
                self._profile.add_hour(self.hour % HOURS, self._counts)
            self._counts = np.zeros(BINS)
            self.hour = hour
            self._begin_hour()
        for start in range(0, len(values), SLICE):
            bins = bins_of(values[start : start + SLICE])
            self._counts += np.bincount(bins, minlength=BINS)
            if self._ranks is not None:
                self._detector.update_many(self._ranks[bins].tolist())
            self._look()

    def saved(self) -> SavedWatch:
        counts = self._counts.tolist()
        return SavedWatch(self._profile.counts.tolist(), counts, self.hour)

    def reason(self) -> str:
        """Say in words what the state rests on."""
        before = self._before()
        if self.state == "learning":
            return f"{before:.0f} of {LEAST_VALUES} values of this hour of earlier days"
        if self.state == "stable":
            return ""
        if self.kind == "share":
            return f"the share is {self._share():.3f}, on earlier days {self._share_before():.3f}"
        above = 0.5 + self.shift
        index = "" if self.index is None else f"; stability index {self.index:.2f}"
        return f"above a value of earlier days with a probability of {above:.2f}{index}"

    def _before(self) -> float:
        return self._profile.total(self.hour % HOURS)

    def _begin_hour(self) -> None:
        self.index, known = None, self._before() >= LEAST_VALUES
        self._ranks = None
        if not known:
            self.state = "learning"
            return
        self._ranks = self._profile.mid_ranks(self.hour % HOURS)
        shares = self._profile.counts[self.hour % HOURS] / self._before()
        self._variance = float(shares @ (self._ranks - 0.5) ** 2)
        if self.state == "learning":
            self.state = "stable"

    def _look(self) -> None:
        if self._ranks is None:
            return
        if self.values >= LEAST_VALUES:
            before = self._profile.counts[self.hour % HOURS]
            self.index = stability_index(self._counts, before)
        if self.state == "stable" and self._beyond(1.0):
            self.state = "drift"
            self.alarms += 1
        elif self.state == "drift" and not self._beyond(_END):
            self.state = "stable"

    def _beyond(self, part: float) -> bool:
        """Whether a limit is passed; of an alarm that goes on, a part of the limit."""
        is_certain = part < 1 or self._detector.is_certain(self._variance, self._before())
        if is_certain and self._has_moved(part):
            return True
        return self.index is not None and self.index >= LEAST_INDEX * part

    def _has_moved(self, part: float) -> bool:
        if self.kind == "score":
            return abs(self.shift) >= LEAST_SHIFT * part
        # Half an event of each keeps the factor finite.
        little = 0.5 / self._before()
        factor = (self._share() + little) / (self._share_before() + little)
        return abs(float(np.log(factor))) >= float(np.log(LEAST_FACTOR)) * part

    def _share_before(self) -> float:
        return float(self._profile.counts[self.hour % HOURS][-1]) / self._before()

    def _share(self) -> float:
        # The mean mid-rank moves by half as much as the share.
        return min(1.0, max(0.0, self._share_before() + 2 * self.shift))
