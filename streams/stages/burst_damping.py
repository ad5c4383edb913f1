"""Which reactions come in a burst that a post's impressions and its last minutes do not explain."""

from __future__ import annotations

from feedmill.events.engagement import EngagementKind
from feedmill.features.counters import KIND_INDEX

MINUTE_MS = 60_000
# Each minute is compared with so many before it.
PAST_MINUTES = 9
_OF_IMPRESSIONS = 0.1
_TIMES_THE_MEAN = 3.0
# A post with fewer reactions of every kind in a minute is forgotten with that minute.
_BUSY = 5
_IMPRESSION = KIND_INDEX["impression"]
_NOT_DAMPED = ("impression", "dwell")


class BurstDamping:
    """The reactions of each post, kind and minute of record time.

    Of a kind there count whole in a minute `free`, a tenth of the post's impressions of the minute,
    and three times its mean number a minute in the nine minutes before, together.  Where so many
    are `most`, the n-th beyond counts (most / n)**2: each one still counts, and all beyond, however
    many they are, count less than `most`.  That follows from these ten minutes alone, so noting
    them again restores it exactly.
    """

    def __init__(self, free: int) -> None:
        self._free = free
        self._minute = -1
        self._present: dict[str, list[int]] = {}
        self._busy: dict[str, list[int]] = {}  # those of `_present` that are remembered
        self._past: list[tuple[int, dict[str, list[int]]]] = []

    @staticmethod
    def since(at_ms: int) -> int:
        """Return from when on the log says what is known at a time; Unix ms."""
        return (at_ms // MINUTE_MS - PAST_MINUTES) * MINUTE_MS

    def weight(self, post_id: str, kind: EngagementKind, at_ms: int) -> float:
        """Note an event by its record's timestamp; return how much it counts, above 0 to 1."""
        if at_ms // MINUTE_MS != self._minute:
            self._turn_to(at_ms // MINUTE_MS)
        counts = self._present.get(post_id)
        if counts is None:
            counts = self._present[post_id] = [0] * len(KIND_INDEX)
        index = KIND_INDEX[kind]
        counts[index] += 1
        if counts[index] < _BUSY or kind in _NOT_DAMPED:
            return 1.0
        self._busy[post_id] = counts
        count = counts[index]
        if count <= self._free:
            return 1.0
        past = sum(minute[post_id][index] for _, minute in self._past if post_id in minute)
        explained = _OF_IMPRESSIONS * counts[_IMPRESSION] + _TIMES_THE_MEAN * past / PAST_MINUTES
        most = self._free + explained
        return 1.0 if count <= most else (most / count) ** 2

    def _turn_to(self, minute: int) -> None:
        """Go on to another minute; after an earlier one, of a clock that was set back, too."""
        past = [*self._past, (self._minute, self._busy)] if self._busy else self._past
        self._past = [one for one in past if minute - PAST_MINUTES <= one[0] < minute]
        self._minute, self._present, self._busy = minute, {}, {}
