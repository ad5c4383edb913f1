"""Events with the moment they are due: what every source yields and the sender takes."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from feedmill.events.engagement import Engagement
from feedmill.events.post import Post

POSTS = "posts"
ENGAGEMENTS = "engagements"


class OutgoingRecord(NamedTuple):
    """Bytes that are sent as they are; `value` None is a tombstone."""

    key: bytes
    value: bytes | None


class ScheduledEvent(NamedTuple):
    """An event, and when it is due in seconds since the start at speed 1.

    The times inside a `Post` and an `Engagement` do not matter: the sender stamps them, unless
    it was asked to keep them.
    """

    due_s: float
    topic: str
    event: Post | Engagement | OutgoingRecord


@dataclass(frozen=True)
class EventSource:
    """A stream of events in the order they are due.

    `events` may yield None: nothing is there yet, ask again soon.  `posts` is how many posts
    it will bring, None where nobody can know.
    """

    events: Iterator[ScheduledEvent | None]
    posts: int | None = None


class EventSchedule:
    """Events that are still to come, handed out in the order they are due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ScheduledEvent]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, events: Iterable[ScheduledEvent]) -> None:
        for event in events:
            heapq.heappush(self._heap, (event.due_s, self._added, event))
            self._added += 1

    def until(self, due_s: float) -> Iterator[ScheduledEvent]:
        """Take out and yield what is due by then."""
        while self._heap and self._heap[0][0] <= due_s:
            yield heapq.heappop(self._heap)[2]

    def rest(self) -> Iterator[ScheduledEvent]:
        return self.until(float("inf"))
