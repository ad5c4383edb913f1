"""Which feeds on demand exist where more could than `max_feeds` allows."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import Final

from feedmill.events.feeds import FEED_PATTERNS, pattern_of

# How many feeds of a pattern may wait for a place; the latest ones are forgotten.
MAX_WAITING: Final = 100_000


class FeedPlaces:
    """Gives the places of each pattern to the feeds whose first shown post arrived earliest.

    A feed's time is the earliest record timestamp of all posts that were shown in it since it
    was last without one; of equal times the lower name goes first.  So it does not matter in
    which order the partitions are read.

    Attributes
    ----------
    refused
        How often a feed did not get a place when it was first noted.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.refused = 0
        self._patterns = {pattern: _Places() for pattern in FEED_PATTERNS}
        self.set_limits(limits)

    def note(self, feed: str, arrived_ms: int) -> bool:
        """A post that arrived then is shown in this feed; returns whether the feed has a place."""
        places = self._of(feed)
        is_new = feed not in places.times
        places.note(feed, arrived_ms)
        has_place = places.has_place(feed)
        self.refused += is_new and not has_place
        return has_place

    def time_of(self, feed: str) -> int | None:
        """When the feed's first shown post arrived; None for a feed that was not noted."""
        return self._of(feed).times.get(feed)

    def is_unknown(self, feed: str) -> bool:
        """Whether no post was shown in this feed so far."""
        places = self._of(feed)
        return feed not in places.times and not places.has_forgotten

    def has_place(self, feed: str) -> bool:
        """Whether a feed that was noted is among the first."""
        return self._of(feed).has_place(feed)

    def drop(self, feed: str) -> None:
        """No post is shown in this feed any more, or it has a setting of its own now."""
        self._of(feed).drop(feed)

    def set_limits(self, limits: Mapping[str, int]) -> None:
        """How many feeds each pattern makes at most."""
        for pattern, limit in limits.items():
            self._patterns[pattern].set_limit(limit)

    def first(self, more: int = 0) -> list[str]:
        """The feeds that have places, of all patterns, and so many of each that wait."""
        return [feed for places in self._patterns.values() for feed in places.first(more)]

    def take_times(self) -> list[tuple[str, int]]:
        """Every feed that was noted since the last call, and its time; nothing is noted then."""
        noted = [one for places in self._patterns.values() for one in places.times.items()]
        self._patterns = {pattern: places.emptied() for pattern, places in self._patterns.items()}
        return noted

    def take_moved(self) -> bool:
        """Whether, since the last call, any feed may have got or lost a place by another one."""
        moved = [places.take_moved() for places in self._patterns.values()]
        return any(moved)

    def _of(self, feed: str) -> _Places:
        return self._patterns[pattern_of(feed) or ""]


class _Places:
    """The feeds of one pattern in the order of their times."""

    def __init__(self) -> None:
        self.limit = 0
        self.has_forgotten = False
        self.times: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []
        self._has_moved = False

    def set_limit(self, limit: int) -> None:
        self._has_moved |= len(self._order) > min(limit, self.limit)
        self.limit = limit

    def emptied(self) -> _Places:
        """The same limit and no feeds."""
        empty = _Places()
        empty.limit = self.limit
        return empty

    def note(self, feed: str, arrived_ms: int) -> None:
        before = self.times.get(feed)
        if before is not None and before <= arrived_ms:
            return
        self.drop(feed)
        self.times[feed] = arrived_ms
        insort(self._order, (arrived_ms, feed))
        self._has_moved |= len(self._order) > self.limit and self.has_place(feed)
        if len(self._order) > self.limit + MAX_WAITING:
            self.drop(self._order[-1][1])
            self.has_forgotten = True

    def drop(self, feed: str) -> None:
        before = self.times.pop(feed, None)
        if before is not None:
            self._has_moved |= len(self._order) > self.limit
            del self._order[bisect_left(self._order, (before, feed))]

    def take_moved(self) -> bool:
        moved, self._has_moved = self._has_moved, False
        return moved

    def has_place(self, feed: str) -> bool:
        time = self.times.get(feed)
        if time is None:
            return False
        return len(self._order) <= self.limit or (time, feed) < self._order[self.limit]

    def first(self, more: int) -> list[str]:
        return [feed for _, feed in self._order[: self.limit + more]]
