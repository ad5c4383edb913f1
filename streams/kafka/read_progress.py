"""Up to when a reader's partitions are read, and which partitions a transaction holds back.

It tells transactions that never end from open ones.  A killed broker may leave such a transaction:
Kafka 4.3 loses markers of transactions that it ends before it listens again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from feedmill.streams.kafka.batches import TopicPartition

T = TypeVar("T", bound=Hashable)

# Kafka aborts a transaction of a dead worker after five seconds, and checks every ten seconds.
HANGS_AFTER_S = 20.0
# An older answer says nothing about the present: the broker may have been away.
ASKED_AGAIN_WITHIN_S = 15.0

# What an operator can do about such a transaction.
WAY_OUT = (
    "its writer ends it, a worker by its next commit, or Kafka after the writer's"
    " transaction.timeout.ms; one that Kafka forgot is ended by `feedmill topics abort-hanging`"
)


class HeldBack(Generic[T]):
    """Measures how long a transaction has held something back, by the broker's answers."""

    def __init__(self) -> None:
        # When the first and the last of the answers in a row came.
        self._since: dict[T, tuple[float, float]] = {}

    def note(self, what: T) -> bool:
        """Note such an answer of the broker; return whether the transaction never ends."""
        now = time.monotonic()
        first, last = self._since.get(what, (now, now))
        first = first if now - last < ASKED_AGAIN_WITHIN_S else now
        self._since[what] = first, now
        return now - first >= HANGS_AFTER_S

    def forget(self, what: T) -> None:
        """Forget something that is not held back any more, or about which nothing is known."""
        self._since.pop(what, None)

    def unasked(self, seconds: float) -> list[T]:
        """Return what is held back, and about which no answer came for so many seconds."""
        before = time.monotonic() - seconds
        return [what for what, (_, last) in self._since.items() if last <= before]


# A reader counts as fresh if it has read all that was there so many seconds ago.
LATE_AFTER_S = 5.0
# How often to look.
LOOK_EVERY_S = 1.0
HELD_BACK = "held back by a transaction that does not end"


class ReadProgress:
    """Remembers known ends, and when the reader came to them; one thread uses it.

    Attributes
    ----------
    lag
        By partition how many offsets lay ahead at the last look.
    create_times
        Partitions whose last records have their producer's time.
    """

    def __init__(self) -> None:
        self.lag: dict[TopicPartition, int] = {}
        self.create_times: set[TopicPartition] = set()
        # By partition the time up to which all is read, and the next end to reach, with its time.
        self._read_at: dict[TopicPartition, float] = {}
        self._marks: dict[TopicPartition, tuple[int, float]] = {}
        # By partition the end that the broker gave last, and what is held back behind such an end.
        self._said_ends: dict[TopicPartition, int] = {}
        self._held_back: set[TopicPartition] = set()

    def said_end(self, source: TopicPartition, end: int) -> None:
        """Note that the broker has nothing to read from `end` on, but for uncommitted records.

        For a reader that reads committed.
        """
        self._said_ends[source] = end

    def stamped(self, source: TopicPartition, *, is_append_time: bool) -> None:
        """Note whose time the last records of a partition have: the broker's or a producer's."""
        (self.create_times.discard if is_append_time else self.create_times.add)(source)

    def look(
        self, positions: Mapping[TopicPartition, int], known_end: Callable[[TopicPartition], int]
    ) -> None:
        """Compare the positions with the ends of partitions; called every second.

        `known_end` returns the last known end of a partition, open transactions included.
        """
        now = time.monotonic()
        self.lag, read_at, marks, held_back = {}, {}, {}, set()
        for source, position in positions.items():
            end = known_end(source)
            self.lag[source] = max(0, end - position)
            mark, marked_at = self._marks.get(source, (position, now))
            is_there = position >= mark
            if position >= end:
                read_at[source] = now
            else:
                read_at[source] = marked_at if is_there else self._read_at[source]
            marks[source] = (end, now) if is_there else (mark, marked_at)
            if position < end and self._said_ends.get(source) == position:
                held_back.add(source)
        self._read_at, self._marks, self._held_back = read_at, marks, held_back

    def lateness(self, source: TopicPartition) -> tuple[int, str]:
        """Return for how many ms a partition has had unread records, and why, if known.

        The number is 0 while it is less than `LATE_AFTER_S`.
        """
        if source not in self.lag:
            return 0, ""
        late_s = time.monotonic() - self._read_at[source]
        if late_s <= LATE_AFTER_S:
            return 0, ""
        return int(late_s * 1000), HELD_BACK if source in self._held_back else ""

    def drop(self, source: TopicPartition) -> None:
        """Forget a partition."""
        for by_source in (self.lag, self._read_at, self._marks, self._said_ends):
            by_source.pop(source, None)
