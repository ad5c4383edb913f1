"""Which events come in a burst that a post's impressions and its last minutes do not explain."""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt

from feedmill.events.engagement import ENGAGEMENT_KINDS, EngagementKind
from feedmill.features.counters import KIND_INDEX

MINUTE_MS = 60_000
# Each minute is compared with so many minutes before it.
PAST_MINUTES = 9
_OF_IMPRESSIONS = 0.1
_TIMES_THE_MEAN = 3.0
# A post with fewer reactions of every kind in a minute, and fewer impressions than they would
# explain, is forgotten with that minute.
_BUSY = 5
_IMPRESSION = KIND_INDEX["impression"]
_KINDS = len(ENGAGEMENT_KINDS)
_NO_COUNTS = (0,) * _KINDS
# From how many events of each kind in a minute a post is busy.
_BUSY_FROM = [
    _BUSY / _OF_IMPRESSIONS if kind == "impression" else np.inf if kind == "dwell" else _BUSY
    for kind in ENGAGEMENT_KINDS
]


class BurstDamping:
    """The events of each post, kind and minute of record time.

    Of a kind of reaction, `most` events count whole in a minute: `free`, a tenth of the post's
    impressions of the minute, and three times its mean number a minute in the nine minutes before,
    together.  The n-th event beyond counts (most / n)**2: each still counts, and all of them,
    however many they are, count less than `most`.

    Of impressions there count whole ten times `free`, and three times their mean.  Beyond that each
    impression counts less, and each other event of that minute as much less: the rates stay.

    All that follows from these ten minutes alone, so that the events of ten minutes restore it.
    """

    def __init__(self, free: int) -> None:
        self._free = free
        self._minute = -1
        self._present = _PresentMinute()
        self._past: list[_PastMinute] = []

    @staticmethod
    def since(at_ms: int) -> int:
        """Return from when on the log has all that is known at a time; Unix ms."""
        return (at_ms // MINUTE_MS - PAST_MINUTES) * MINUTE_MS

    def weight(self, post_id: str, kind: EngagementKind, at_ms: int) -> float:
        """Add an event by its record's timestamp; return how much it counts, above 0 to 1."""
        if at_ms // MINUTE_MS != self._minute:
            self._turn_to(at_ms // MINUTE_MS)
        present, index = self._present, KIND_INDEX[kind]
        row = present.rows.get(post_id)
        if row is None:
            row = present.add(post_id)
        counts = present.counts
        count = counts[row + index] = counts[row + index] + 1
        impressions = counts[row + _IMPRESSION]
        weight = 1.0
        if impressions > self._free / _OF_IMPRESSIONS:
            most = self._free / _OF_IMPRESSIONS + self._explained(post_id, row, _IMPRESSION)
            weight = min(1.0, most / impressions) ** 2
        if count <= self._free or kind in ("impression", "dwell"):
            return weight
        most = self._free + _OF_IMPRESSIONS * impressions + self._explained(post_id, row, index)
        return weight * min(1.0, most / count) ** 2

    def _explained(self, post_id: str, row: int, index: int) -> float:
        """Return how many of a kind the nine minutes before explain."""
        past = self._present.past.get(row + index)
        if past is None:
            past = sum(minute.count(post_id, index) for minute in self._past)
            self._present.past[row + index] = past
        return _TIMES_THE_MEAN * past / PAST_MINUTES

    def _turn_to(self, minute: int) -> None:
        """Go on to another minute, perhaps an earlier one of a clock that was set back."""
        past = [*self._past, _PastMinute(self._minute, self._present)]
        self._past = [m for m in past if minute - PAST_MINUTES <= m.minute < minute]
        self._minute, self._present = minute, _PresentMinute()


class _PresentMinute:
    """The counts of a minute that goes on, some 100 bytes a post beside its id.

    `rows` says where a post's counts begin in `counts`, in the order of `KIND_INDEX`; `past` keeps
    what was found in the minutes before, by the place of the count.
    """

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.counts = array("I")
        self.past: dict[int, int] = {}

    def add(self, post_id: str) -> int:
        row = self.rows[post_id] = len(self.counts)
        self.counts.extend(_NO_COUNTS)
        return row


class _PastMinute:
    """The busy posts of a minute, 40 bytes each.

    They are found by the hash of their ids: of a million of them two are mixed up once in 10**7
    minutes.
    """

    def __init__(self, minute: int, of: _PresentMinute) -> None:
        self.minute = minute
        counts: npt.NDArray[np.uint32] = np.array(of.counts, np.uint32).reshape(-1, _KINDS)
        busy = (counts >= _BUSY_FROM).any(axis=1)
        hashes = np.fromiter(map(hash, of.rows), np.int64, len(of.rows))[busy]
        order = np.argsort(hashes)
        self._hashes, self._counts = hashes[order], counts[busy][order]

    def count(self, post_id: str, index: int) -> int:
        """Return how often a kind came to a post; 0 if it was not busy."""
        key = hash(post_id)
        at = int(np.searchsorted(self._hashes, key))
        found = at < len(self._hashes) and self._hashes[at] == key
        return int(self._counts[at, index]) if found else 0
