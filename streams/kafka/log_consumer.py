"""Reads chosen partitions without a group: for restores, settings and history.

    add --ends and starts known--> restoring --read to the end seen at `add`--> restored

Partitions are read committed.  With `live` set a restored partition is read on uncommitted: the
reader sees records at once, and must bear records that are aborted later, so it is set only for
records of workers.  A partition is not live before its first fetch was answered, within a second.

A transaction that does not end holds a restore back for some twenty seconds.  Then records behind
it are read uncommitted in topics of `past_hanging`; in other topics the restore ends before it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.client import WatchedConsumer, discard
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.messages import (
    NOTHING,
    Fetched,
    Most,
    fetch,
    is_out_of_range,
    last_known_end,
)
from feedmill.streams.kafka.offsets import Offsets
from feedmill.streams.kafka.read_progress import LOOK_EVERY_S, WAY_OUT, HeldBack, ReadProgress

log = logging.getLogger(__name__)

BEGINNING = OFFSET_BEGINNING
END = OFFSET_END
MOST_BYTES = 4 * 1024 * 1024
# So many records of workers, which are small, may wait to be read.
WAITING = 500
# How often an unused client is polled, which would else keep its reports for ever.
_UNUSED_EVERY_S = 0.5
# How often the broker is asked whether a transaction still holds a restore back.
_ASK_AGAIN_S = 5.0


class LogConsumer:
    """Partitions that are added and dropped at will; one thread uses it, and no call waits.

    `read` must be called for as long as partitions are followed.  `name` stands in logs and
    reasons.  `past_hanging` are topics whose records do no harm if they are aborted after they
    were read.  While `waiting` records wait to be read, no more are fetched.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        *,
        live: bool = False,
        past_hanging: Collection[str] = (),
        waiting: int | None = None,
    ) -> None:
        self.name = name
        self.stopped: dict[TopicPartition, str] = {}
        self._connection, self._environment = connection, connection.environment
        self._new_consumer = partial(connection.new_log_consumer, waiting=waiting)
        # Made for the first partition: a consumer without partitions sleeps for up to a second.
        self._restoring: WatchedConsumer | None = None
        self._follows, self._past_hanging = live, frozenset(past_hanging)
        self._live: WatchedConsumer | None = None
        self._unused_at = 0.0
        self._at_live: set[TopicPartition] = set()
        # Live partitions of which the live consumer has brought nothing yet, not even their end.
        self._unheard: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._held = HeldBack[TopicPartition]()
        self._progress, self._look_at = ReadProgress(), 0.0
        # Partitions that a transaction which never ends holds back.
        self._hanging: set[TopicPartition] = set()
        self._asking: list[_Adding] = []
        # True if the last read passed large batches: a read that gathers would end behind each.
        self._has_passed = False

    def add(self, starts: Mapping[TopicPartition, int], *, or_first: bool = False) -> None:
        """Read these partitions too, each from an offset, `BEGINNING` or `END`.

        With `or_first` a partition whose offset was removed is read from the first one left.
        """
        if starts:
            self._asking.append(_Adding(self._connection.offsets, dict(starts), or_first=or_first))

    def add_since(self, times: Mapping[TopicPartition, int]) -> None:
        """Read these partitions too, from the first record stamped at a time (Unix ms) or later."""
        if times:
            self._asking.append(_Adding(self._connection.offsets, {}, dict(times)))

    def restore_again(self) -> None:
        """Let `all_restored` be False until all present records are read; reading goes on."""
        self._asking = [adding.again(self._connection.offsets) for adding in self._asking]
        self._ends = {}
        self.add(self.positions())

    def drop(self, sources: Iterable[TopicPartition]) -> None:
        """Read these partitions no more; those that are not read are ignored."""
        gone = set(sources)
        for adding in self._asking:
            adding.forget(gone)
        known = gone & self._positions.keys()
        if not known:
            return
        for consumer, mine in ((self._restoring, False), (self._live, True)):
            old = [self._at(s) for s in known if (s in self._at_live) is mine]
            if consumer is not None and old:
                consumer.incremental_unassign(old)
                if known == self._positions.keys():
                    # The client keeps fetched records until it is asked for more.
                    consumer.consume(1, 0)
        for source in known:
            self._held.forget(source)
            for named in (self._at_live, self._unheard, self._hanging):
                named.discard(source)
            self._progress.drop(source)
            self._positions.pop(source, None)
            self._ends.pop(source, None)
            self.stopped.pop(source, None)

    def read(
        self, most: int, wait_s: float = 0.0, *, most_bytes: int = MOST_BYTES
    ) -> list[RecordBatch]:
        """Return at most `most` records; wait at most `wait_s` seconds for the first.

        Each of the two clients brings about `most_bytes` at most.
        """
        self._begin()
        restoring = len(self._at_live) < len(self._positions)
        now = time.monotonic()
        is_unused_due = now >= self._unused_at
        if is_unused_due:
            self._unused_at = now + _UNUSED_EVERY_S
            self._replace_lost()
            self._ask_again()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._progress.look(self._positions, self._known_end)
        batches: list[RecordBatch] = []
        if self._restoring is not None and (restoring or is_unused_due):
            batches = self._take(self._restoring, most, most_bytes, wait_s if restoring else 0)
        if self._live is not None and (self._at_live or is_unused_due):
            taken = sum(len(batch.records) for batch in batches)
            if taken < most:
                wait_s = 0 if restoring else wait_s
                batches += self._take(self._live, most - taken, most_bytes, wait_s)
        if restoring and (self._follows or self._hanging):
            self._go_live()
        return batches

    def restored(self, source: TopicPartition) -> bool:
        """Return whether all was read that a partition had when it was added.

        That is up to its high watermark; an open transaction holds this back until it ends.
        """
        end = self._ends.get(source)
        return end is not None and self._positions[source] >= end

    def all_restored(self) -> bool:
        """Return whether every added partition is restored."""
        return not self._asking and all(map(self.restored, self._positions))

    def all_live(self) -> bool:
        """Return whether all is restored, and all partitions are live if they are to be."""
        if not self._follows:
            return self.all_restored()
        is_there = len(self._at_live) == len(self._positions) and not self._unheard
        return is_there and self.all_restored()

    def progress(self) -> tuple[int, int]:
        """Return how many offsets were read, and how many there were at `add`."""
        known = [(self._positions[at], end) for at, end in self._ends.items()]
        return sum(min(at, end) for at, end in known), sum(end for _, end in known)

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset of every partition."""
        return dict(self._positions)

    def lag(self) -> dict[TopicPartition, int]:
        """Return how many offsets lie ahead in every partition, by its last known end."""
        return {at: max(0, self._known_end(at) - p) for at, p in self._positions.items()}

    def ready_reason(self) -> str:
        """Say why not everything is restored; "" when it is."""
        if self.stopped:
            return next(iter(self.stopped.values()))
        if self.all_restored():
            return ""
        done, of = self.progress()
        return f"reading {self.name}, {done} of {of}"

    def late_reason(self) -> str:
        """Say which partition has had unread records for seconds; "" if none has."""
        for source in self._progress.lag:
            late_ms, why = self._progress.lateness(source)
            if why:
                return self._kept(source)
            if late_ms:
                at = f"{self._environment.topic(source.topic)}[{source.partition}]"
                return f"{at} is read up to {late_ms / 1000:.0f} s ago"
        return ""

    def close(self) -> None:
        for consumer in (self._restoring, self._live):
            if consumer is not None:
                consumer.close()

    def _begin(self) -> None:
        while self._asking and self._asking[0].done():
            adding = self._asking.pop(0)
            try:
                found = adding.result()
            except KafkaException as error:
                self._connection.health.report(error.args[0])
                self._asking.append(adding.again(self._connection.offsets))
                return
            self._ends |= {source: end for source, (_, end) in found.items()}
            new = {at: start for at, (start, _) in found.items() if at not in self._positions}
            self._positions |= new
            if new:
                self._restoring = self._restoring or self._new_consumer()
                self._restoring.incremental_assign([self._at(*start) for start in new.items()])

    def _go_live(self) -> None:
        ready = [
            s
            for s in self._positions.keys() - self._at_live
            if s in self._hanging or (self._follows and self.restored(s))
        ]
        if not ready or self._restoring is None:
            return
        self._live = self._live or self._new_consumer(committed=False)
        self._restoring.incremental_unassign([self._at(source) for source in ready])
        self._live.incremental_assign([self._at(s, self._positions[s]) for s in ready])
        for source in ready:
            self._progress.said_end(source, -1)
            self._held.forget(source)
        self._at_live.update(ready)
        self._unheard.update(ready)

    def _ask_again(self) -> None:
        """Ask the broker again how far held partitions can be read."""
        for source in self._held.unasked(_ASK_AGAIN_S):
            if self._restoring is not None:
                self._restoring.incremental_unassign([self._at(source)])
                self._restoring.incremental_assign([self._at(source, self._positions[source])])

    def _replace_lost(self) -> None:
        """Replace a consumer that finds no broker any more."""
        if self._restoring is not None and self._restoring.brokers.are_lost:
            discard(self._restoring)
            self._restoring = self._new_consumer()
            self._assign_again(self._restoring, self._positions.keys() - self._at_live)
        if self._live is not None and self._live.brokers.are_lost:
            discard(self._live)
            self._live = self._new_consumer(committed=False)
            self._assign_again(self._live, self._at_live)
            self._unheard.update(self._at_live)

    def _assign_again(self, consumer: Consumer, sources: AbstractSet[TopicPartition]) -> None:
        log.warning("reading %s by another client: the one before found no broker", self.name)
        if sources:
            consumer.incremental_assign([self._at(s, self._positions[s]) for s in sources])

    # --- messages ------------------------------------------------------------------------

    def _take(
        self, consumer: Consumer, most: int, most_bytes: int, wait_s: float
    ) -> list[RecordBatch]:
        # A fetch may have 20 records: a restore waits for more, in place of many cycles.
        left = sum(max(0, end - self._positions[at]) for at, end in self._ends.items())
        limits, headers = Most(most, most_bytes), self._connection.headers
        gathers = left >= most and not self._has_passed
        try:
            fetched = fetch(consumer, headers, limits, wait_s=wait_s, gathers=gathers)
        except KafkaException as error:
            self._connection.health.report(error.args[0])
            return []
        if fetched is NOTHING:
            return []
        self._has_passed = fetched.has_passed
        for source, complaint in fetched.errors:
            self._judge(source, complaint)
        if self._unheard and consumer is self._live:
            self._unheard -= fetched.records.keys() | fetched.ends.keys()
        return self._accept(fetched)

    def _accept(self, fetched: Fetched) -> list[RecordBatch]:
        batches = []
        for source, records in fetched.records.items():
            position = self._positions.get(source)
            # The partition was dropped, or the records are from before its present position.
            if position is None or records[-1].offset < position:
                continue
            if records[0].offset < position:
                records = records.since(position)  # noqa: PLW2901 - less of it
            batch = RecordBatch(source, records)
            self._positions[source] = batch.end
            self._held.forget(source)
            batches.append(batch)
        for source, end in fetched.ends.items():
            if source in self._positions:
                self._positions[source] = max(end, self._positions[source])
                if source not in self._at_live:
                    self._progress.said_end(source, end)
                self._note_end(source)
        return batches

    def _note_end(self, source: TopicPartition) -> None:
        """Find out whether a transaction holds back what is behind the end of a read."""
        # A live partition is read uncommitted, so no transaction holds it back.
        if source in self._at_live or self.restored(source) or source in self._hanging:
            self._held.forget(source)
        elif self._held.note(source):
            self._held.forget(source)
            if source.topic in self._past_hanging:
                self._hanging.add(source)
                what = "what stands behind it is read, too"
            else:
                self._ends[source] = self._positions[source]
                what = "nothing behind it is read before it ends"
            log.error("%s: %s", self._kept(source), what)

    def _kept(self, source: TopicPartition) -> str:
        topic, position = self._environment.topic(source.topic), self._positions[source]
        where = f"{topic}[{source.partition}] is held back at offset {position}"
        return f"{where} by a transaction that does not end; {WAY_OUT}"

    def _judge(self, source: TopicPartition | None, error: KafkaError) -> None:
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return  # Of a group that is never used.
        if source is None or not is_out_of_range(error):
            self._connection.health.report(error)
            return
        if source not in self.stopped:
            self.stopped[source] = (
                f"offset {self._positions.get(source)} of {self._environment.topic(source.topic)}"
                f"[{source.partition}] is out of range ({error.str()}): records are missing;"
                " start this process again, which restores from the beginning"
            )
            log.error("%s", self.stopped[source])

    def _known_end(self, at: TopicPartition) -> int:
        consumer = self._live if at in self._at_live else self._restoring
        return last_known_end(consumer, self._environment, at, self._ends.get(at, 0))

    def _at(self, source: TopicPartition, offset: int = OFFSET_BEGINNING) -> KafkaPartition:
        return KafkaPartition(self._environment.topic(source.topic), source.partition, offset)


class _Adding:
    """Partitions to add, while Kafka is asked where they begin and end."""

    def __init__(
        self,
        offsets: Offsets,
        starts: dict[TopicPartition, int],
        times: dict[TopicPartition, int] | None = None,
        *,
        or_first: bool = False,
    ) -> None:
        self._starts, self._times = starts, times or {}
        self._or_first = or_first
        self._bounds = offsets.bounds([*starts, *self._times])
        self._since = offsets.since(self._times) if self._times else None

    def done(self) -> bool:
        return self._bounds.done() and (self._since is None or self._since.done())

    def result(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return the start of each partition, and the end up to which it is restored."""
        bounds = self._bounds.result()
        found = {}
        for source, start in self._starts.items():
            first, end = bounds[source]
            least = max(start, first) if self._or_first else start
            found[source] = ({BEGINNING: first, END: end}.get(start, least), end)
        since = self._since.result() if self._since is not None else {}
        for source in self._times:
            end = bounds[source].end
            found[source] = (end if since[source] < 0 else since[source], end)
        return found

    def again(self, offsets: Offsets) -> _Adding:
        """Ask once more."""
        return _Adding(offsets, self._starts, self._times, or_first=self._or_first)

    def forget(self, sources: set[TopicPartition]) -> None:
        """Leave some partitions out."""
        for source in sources:
            self._starts.pop(source, None)
            self._times.pop(source, None)
