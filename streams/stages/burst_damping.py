"""Which reactions come in a burst that a post's impressions and its last minutes do not explain."""

from __future__ import annotations

from collections import deque

from feedmill.events.engagement import EngagementKind
from feedmill.features.counters import KIND_INDEX

MINUTE_MS = 60_000
# Each minute is compared with so many before it.
PAST_MINUTES = 9
_FREE = 40
_OF_IMPRESSIONS = 0.1
_TIMES_THE_MEAN = 3.0
# A post with fewer reactions of every kind in a minute is forgotten with that minute.
_BUSY = 5
_IMPRESSION = KIND_INDEX["impression"]
_NOT_DAMPED = ("impression", "dwell")


class BurstDamping:
    """The reactions of each post, kind and minute of record time.

    Of a kind there count in a minute at most 40, a tenth of the post's impressions of the minute,
    and three times its mean number a minute in the nine minutes before, together.  That follows
    from these ten minutes alone, so noting them again restores it exactly.
    """

    def __init__(self) -> None:
        self._minute = -1
        self._present: dict[str, list[int]] = {}
        self._busy: dict[str, list[int]] = {}  # those of `_present` that are remembered
        self._past: deque[tuple[int, dict[str, list[int]]]] = deque()

    @staticmethod
    def since(at_ms: int) -> int:
        """Return from when on the log says what is known at a time; Unix ms."""
        return (at_ms // MINUTE_MS - PAST_MINUTES) * MINUTE_MS

    def exceeds(self, post_id: str, kind: EngagementKind, at_ms: int) -> bool:
        """Note an event by its record's timestamp; say whether it comes beyond what may count."""
        if at_ms // MINUTE_MS > self._minute:
            self._turn_to(at_ms // MINUTE_MS)
        counts = self._present.get(post_id)
        if counts is None:
            counts = self._present[post_id] = [0] * len(KIND_INDEX)
        index = KIND_INDEX[kind]
        counts[index] += 1
        if counts[index] < _BUSY or kind in _NOT_DAMPED:
            return False
        self._busy[post_id] = counts
        if counts[index] <= _FREE:
            return False
        past = sum(minute[post_id][index] for _, minute in self._past if post_id in minute)
        explained = _OF_IMPRESSIONS * counts[_IMPRESSION] + _TIMES_THE_MEAN * past / PAST_MINUTES
        return counts[index] > _FREE + explained

    def _turn_to(self, minute: int) -> None:
        """Go on to a later minute; one that comes back counts as the last one."""
        if self._busy:
            self._past.append((self._minute, self._busy))
        while self._past and self._past[0][0] < minute - PAST_MINUTES:
            self._past.popleft()
        self._minute, self._present, self._busy = minute, {}, {}
