"""Events with their due times: sources yield them, the sender of a replay takes them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from feedmill.events.engagement import Engagement
from feedmill.events.experiment import Exposure
from feedmill.events.post import Post

POSTS = "posts"
ENGAGEMENTS = "engagements"
EXPOSURES = "exposures"


class OutgoingRecord(NamedTuple):
    """Key and value of a record, sent as they are; the value None is a tombstone."""

    key: bytes
    value: bytes | None


class ScheduledEvent(NamedTuple):
    """An event, and its due time in seconds since the start, at speed 1.

    The sender replaces the time inside an event by the time of sending, unless it is told to keep
    it.
    """

    due_s: float
    topic: str
    event: Post | Engagement | Exposure | OutgoingRecord


@dataclass(frozen=True)
class EventSource:
    """A stream of events in the order of their due times.

    Attributes
    ----------
    events
        Yields None if the next event is not there yet; ask again soon.
    posts
        How many posts it has; None if that is unknown.
    """

    events: Iterator[ScheduledEvent | None]
    posts: int | None = None


class EventSchedule:
    """A priority queue of events by due time; events due at the same time keep their order."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ScheduledEvent]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, events: Iterable[ScheduledEvent]) -> None:
        """Add events in any order."""
        for event in events:
            heapq.heappush(self._heap, (event.due_s, self._added, event))
            self._added += 1

    def until(self, due_s: float) -> Iterator[ScheduledEvent]:
        """Remove and yield the events that are due at `due_s` or before."""
        while self._heap and self._heap[0][0] <= due_s:
            yield heapq.heappop(self._heap)[2]

    def rest(self) -> Iterator[ScheduledEvent]:
        """Remove and yield all events."""
        return self.until(float("inf"))
