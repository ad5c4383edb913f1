"""Up to when the partitions of a reader are read, and which of them a transaction holds back.

Transactions that never end are told from open ones.  A broker that was killed may leave one: Kafka
4.3 loses markers of a transaction that it ends before it listens again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from feedmill.streams.kafka.batches import TopicPartition

T = TypeVar("T", bound=Hashable)

# Kafka aborts a dead worker's transaction after five seconds, and looks for them every ten.
HANGS_AFTER_S = 20.0
# An answer that is older says nothing about the present one: the broker may have been away.
ASKED_AGAIN_WITHIN_S = 15.0

# What to do about one.
WAY_OUT = (
    "its writer ends it, a worker by its next commit, or Kafka after the writer's"
    " transaction.timeout.ms; one that Kafka forgot is ended by `feedmill topics abort-hanging`"
)


class HeldBack(Generic[T]):
    """For how long transactions have held something back, by what the broker answered."""

    def __init__(self) -> None:
        # When the first and the last of the answers in a row came.
        self._since: dict[T, tuple[float, float]] = {}

    def note(self, what: T) -> bool:
        """Note that the broker answered so; return whether that transaction never ends."""
        now = time.monotonic()
        first, last = self._since.get(what, (now, now))
        first = first if now - last < ASKED_AGAIN_WITHIN_S else now
        self._since[what] = first, now
        return now - first >= HANGS_AFTER_S

    def forget(self, what: T) -> None:
        """It is held back no more, or nothing is known of it."""
        self._since.pop(what, None)

    def unasked(self, seconds: float) -> list[T]:
        """Return what the broker said so of, and nothing since so many seconds."""
        before = time.monotonic() - seconds
        return [what for what, (_, last) in self._since.items() if last <= before]


# A reader of which so much is true may count as fresh: it has read all that was there so long ago.
LATE_AFTER_S = 5.0
# How often to look.
LOOK_EVERY_S = 1.0
HELD_BACK = "held back by a transaction that does not end"


class ReadProgress:
    """Remembers ends that were heard of, and when the reader came to them; one thread uses it.

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
        # When everything was there that is read, and the end to come to next, with its time.
        self._read_at: dict[TopicPartition, float] = {}
        self._marks: dict[TopicPartition, tuple[int, float]] = {}
        # Where the broker said last that no more can be read, and who stands there before more.
        self._said_ends: dict[TopicPartition, int] = {}
        self._held_back: set[TopicPartition] = set()

    def said_end(self, source: TopicPartition, end: int) -> None:
        """Note that the broker has nothing to read from `end` on; it may have uncommitted records.

        Of a reader that reads committed.
        """
        self._said_ends[source] = end

    def stamped(self, source: TopicPartition, *, is_append_time: bool) -> None:
        """Note whose time the last records of a partition have: the broker's or a producer's."""
        (self.create_times.discard if is_append_time else self.create_times.add)(source)

    def look(
        self, positions: Mapping[TopicPartition, int], known_end: Callable[[TopicPartition], int]
    ) -> None:
        """Compare what is read with what there is; every second.

        `known_end` says where a partition ends, as last heard of, open transactions included.
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
        """Return for how many ms something has been there that is not read, and why, if known.

        0 while it is less than `LATE_AFTER_S`.
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
