"""What the combiner reads from Kafka: everything that this worker does not make itself.

At a start it reads committed records to their ends, signals after posts: few signals may wait for
their post.  After that it follows what others write, signals of workers uncommitted; a step of the
same worker hands its signals over in memory instead.  Partitions that come are read to their ends,
those that go are read on from where the view has them.  Overrides have a client of their own: in
one client's queue they would wait behind all signals that were fetched before them.
"""

from __future__ import annotations

import logging
import re
import time
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from feedmill.events.decode import decode_posts, decode_signals, decoder_of
from feedmill.rankers.combiner.combiner import always
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import memory_shares
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batch_headers import PassedBatch
from feedmill.streams.kafka.batches import (
    RECORD_BYTES,
    FetchedRecord,
    RecordBatch,
    TopicPartition,
    columns_of,
)
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, WAITING, LogConsumer
from feedmill.streams.kafka.validation import (
    DecodeMany,
    RejectedRecord,
    decode_together,
    validate_batch,
)
from feedmill.streams.ranking.shard_claims import FIRST_SHARD
from feedmill.streams.worker.step import StepContext, Writer

log = logging.getLogger(__name__)

OVERRIDES = "overrides"
SIGNALS = "signals."
POSTS = "posts"
# To decode and store a post costs as much as two signals.
_SIGNALS_A_POST = 2
# So many records are read at once, half as many posts, before `has_time` is asked for more.
_SLICE_RECORDS = 1_000
# Of a partition this far behind posts go first: a signal that waits for its post costs three times.
_POSTS_BEHIND = 1_000
# A read of so many records shows a backlog, which ends when no such read came for so long.
_BULK_RECORDS, _BULK_FOR_S = 100, 2.0
# An override takes longer: each is validated by itself.
_SLICE_OVERRIDES = 200
# How often overrides are read where cycles are short.
_OVERRIDES_EVERY_S = 0.005
# The same while posts of authors are searched: the next search is for all authors until then.
_SEARCH_EVERY_S = 0.05
# While too many signals wait: how many rows of them are looked at, and how often.
_DROP_ROWS, _DROP_EVERY_S = 2_000, 0.05


# Of records beyond the bound on bytes only the place is kept, of so many at most.
MOST_PLACES = 20_000
_MOST_REASON = 200
_NEVER = -1


class CombinerLogs:
    """Brings a view up to date with `posts`, `signals.*` and `overrides`; never waits.

    Parameters
    ----------
    view
        What is read goes there: all declared signals, too.
    made_here
        The signals that steps of this worker write.
    since_ms
        Of `posts` and `signals.*` what came before that time is not read; None: all is.

    Attributes
    ----------
    is_restored
        Whether everything was read that stood there at the start, or at the last assignment.
    was_restored
        Whether it was once: since then the view is whole but for what others write.
    signals_read
        What the last `read` brought of signals of other workers, once all is restored.
    """

    def __init__(
        self,
        connection: Connection,
        view: PostView,
        made_here: Collection[str],
        partitions: int,
        *,
        since_ms: int | None = None,
    ) -> None:
        self._view, names = view, view.names
        self._made_here = frozenset(made_here)
        self._partitions = partitions
        self._since_ms = since_ms
        signals = [SIGNALS + name for name in names.all]
        self._log = LogConsumer(connection, "the combiner's logs")
        # More records of workers may wait: none of them is large.
        self._of_workers = frozenset(signals).difference(SIGNALS + name for name in names.own)
        self._worker_log = LogConsumer(
            connection,
            "signals of workers",
            live=True,
            past_hanging=self._of_workers,
            waiting=WAITING,
        )
        self._overrides = LogConsumer(connection, OVERRIDES)
        self._logs = (self._log, self._worker_log, self._overrides)
        inputs = (POSTS, OVERRIDES, *signals)
        self._decoders = {
            topic: decode for topic in inputs if (decode := decoder_of(topic, names)) is not None
        }
        self._decoders_of_many: dict[str, DecodeMany[Any]] = {
            POSTS: decode_posts,
            **{SIGNALS + name: partial(decode_signals, name, names) for name in names.all},
        }
        # Partitions that are read to their ends once more, because this worker writes them now.
        self._leaving: set[TopicPartition] = set()
        # Partitions that are not read, and up to where the view has them.
        self._left: dict[TopicPartition, int] = {}
        self._posts = [TopicPartition(POSTS, p) for p in range(partitions)]
        self._after_posts = {
            TopicPartition(topic, p): BEGINNING for topic in signals for p in range(partitions)
        }
        self._begin(self._log, dict.fromkeys(self._posts, BEGINNING))
        self._overrides.add({TopicPartition(OVERRIDES, 0): BEGINNING})
        self._overrides_at = self._drop_at = self._bulk_until = 0.0
        self._behind: dict[TopicPartition, int] = {}
        self.is_restored = self.was_restored = False
        self.signals_read: list[RecordBatch] = []

    def positions(self) -> dict[TopicPartition, int]:
        """Return up to where the view has each partition: the next offset."""
        return {at: n for reader in self._logs for at, n in reader.positions().items()}

    def ready_reason(self) -> str:
        """Say what is still to be read; "" if nothing is."""
        reasons = [reader.ready_reason() for reader in self._logs]
        reason = next(filter(None, (*reasons, *(r.late_reason() for r in self._logs))), "")
        return reason or ("reading posts before signals" if self._after_posts else "")

    def lag(self) -> int:
        """Return how many offsets lie ahead, as last heard of."""
        return sum(sum(reader.lag().values()) for reader in self._logs)

    @property
    def is_catching_up(self) -> bool:
        """Whether posts or signals of others come that had waited."""
        return time.monotonic() < self._bulk_until

    def progress(self) -> tuple[str, int, int]:
        """Return what is being restored, how many offsets of it were read, and of how many."""
        if self._after_posts:
            return "posts", *self._log.progress()
        done, of = zip(self._log.progress(), self._worker_log.progress(), strict=True)
        return "posts and signals", sum(done), sum(of)

    def assigned(self, change: AssignmentChange, written: Mapping[TopicPartition, int]) -> None:
        """Read on what is another worker's now, and to its end what became this worker's.

        `written` are the offsets behind what this worker is known to have committed.  The view has
        all signals before them, and all posts that were `judged`: none of these is read again.
        """
        for at in written.keys() & self._left.keys():
            self._left[at] = max(self._left[at], written[at])
        kept = self._left.keys() & self._own(change.kept)
        # A partition that was lost in between may have records of other workers.
        self._add({at: self._left.pop(at) for at in self._left.keys() - kept})
        self._leaving = self._own(change.owned) - kept
        # What others wrote must be read as of now before anything is ranked as the owner.
        for reader in self._logs:
            reader.restore_again()
        self._look_whether_restored()

    def judged(self, partition: int, end: int) -> None:
        """Say up to where the view has the posts of a partition, which did not come by its log."""
        source = TopicPartition(POSTS, partition)
        if source in self._left:
            self._left[source] = end

    def read(
        self, most: int, has_time: Callable[[], bool] = always
    ) -> tuple[int, list[RejectedRecord]]:
        """Bring the view up to date; return how many records came, and those that were refused.

        At most `most` overrides, which come first, and as many other records, half as many while
        posts are restored, as long as there is time.
        """
        count, rejected = self.read_overrides(most, has_time)
        self.signals_read = []
        share = _SIGNALS_A_POST if self._after_posts else 1
        most = max(1, most // share)
        read = self._read(self._log, most, _SLICE_RECORDS // share, has_time, rejected)
        if not self._after_posts and self._has_room():
            read += self._read(self._worker_log, most, _SLICE_RECORDS, has_time, rejected)
        if read >= _BULK_RECORDS:
            self._bulk_until = time.monotonic() + _BULK_FOR_S
        if not self.is_restored or self._leaving:
            self._begin_signals()
            self._leave()
            self._look_whether_restored()
        return count + read, rejected

    def read_overrides(
        self, most: int, has_time: Callable[[], bool] = always
    ) -> tuple[int, list[RejectedRecord]]:
        """Read overrides alone, where it is time to; return as `read`."""
        rejected: list[RejectedRecord] = []
        now_s = time.monotonic()
        if self.is_restored and now_s < self._overrides_at:
            return 0, rejected
        count = self._read(self._overrides, most, _SLICE_OVERRIDES, has_time, rejected)
        # Posts of authors are searched for among all: not for each override by itself.
        is_searching = self._view.overridden.is_searching
        self._overrides_at = now_s + (_SEARCH_EVERY_S if is_searching else _OVERRIDES_EVERY_S)
        return count, rejected

    def _has_room(self) -> bool:
        """Whether few signals wait for their posts, or these posts do not come."""
        early = self._view.early
        if early.is_full and time.monotonic() >= self._drop_at:
            self._drop_at = time.monotonic() + _DROP_EVERY_S
            positions = self._log.positions() | self._left
            self._view.drop_passed([positions.get(at, 0) for at in self._posts], _DROP_ROWS)
        before, self._behind = self._behind, self._posts_behind() if len(early) else {}
        return not (early.is_full or self._behind.items() - before.items())

    def _posts_behind(self) -> dict[TopicPartition, int]:
        """The partitions of posts that are far behind, with their positions."""
        lag, positions = self._log.lag(), self._log.positions()
        return {
            at: positions[at]
            for at, count in lag.items()
            if at.topic == POSTS and count > _POSTS_BEHIND
        }

    def _read(
        self,
        log_consumer: LogConsumer,
        most: int,
        at_once: int,
        has_time: Callable[[], bool],
        rejected: list[RejectedRecord],
    ) -> int:
        """Read at most `most` records in slices, one slice at least; return how many came."""
        count = 0
        while count < most:
            wanted = min(most - count, at_once)
            taken = 0
            for batch in log_consumer.read(wanted):
                taken += len(batch.records)
                rejected += self._decode(batch)
                if self.is_restored and log_consumer is self._worker_log:
                    self.signals_read.append(batch)
            count += taken
            if taken < wanted or not has_time():
                break
        return count

    def close(self) -> None:
        for reader in self._logs:
            reader.close()

    def _look_whether_restored(self) -> None:
        is_read = all(reader.all_restored() for reader in self._logs)
        self.is_restored = is_read and not self._after_posts
        self.was_restored |= self.is_restored

    def _own(self, partitions: Iterable[int]) -> set[TopicPartition]:
        topics = (POSTS, *(SIGNALS + name for name in self._made_here))
        return {TopicPartition(topic, partition) for partition in partitions for topic in topics}

    def _add(self, starts: Mapping[TopicPartition, int]) -> None:
        of_workers = {at: n for at, n in starts.items() if at.topic in self._of_workers}
        self._begin(self._worker_log, of_workers)
        self._begin(self._log, {at: n for at, n in starts.items() if at not in of_workers})

    def _begin_signals(self) -> None:
        """Begin with signals when the posts have been read to their ends."""
        are_read = (at in self._left or self._log.restored(at) for at in self._posts)
        if self._after_posts and all(are_read):
            starts, self._after_posts = self._after_posts, {}
            self._add(starts)

    def _begin(self, log_consumer: LogConsumer, starts: Mapping[TopicPartition, int]) -> None:
        if self._since_ms is None:
            # What Kafka removed before such an offset is in the view.
            log_consumer.add(starts, or_first=True)
        else:
            log_consumer.add_since(dict.fromkeys(starts, self._since_ms))

    def _leave(self) -> None:
        done = {
            at for at in self._leaving if self._log.restored(at) or self._worker_log.restored(at)
        }
        if done:
            positions = {**self._log.positions(), **self._worker_log.positions()}
            self._left |= {at: positions[at] for at in done}
            self._leaving -= done
            self._log.drop(done)
            self._worker_log.drop(done)

    def _decode(self, batch: RecordBatch) -> list[RejectedRecord]:
        topic = batch.source.topic
        decode_many = self._decoders_of_many.get(topic)
        if decode_many is not None:
            events = decode_together(batch, self._partitions, decode_many)
            if events is not None:
                columns = columns_of(batch.records)
                self._update(topic, events, columns.offsets, columns.timestamps)
                return []
        count = 1 if topic == OVERRIDES else self._partitions
        found = validate_batch(batch, count, self._decoders[topic])
        records = [record for record, _ in found.events]
        self._update(
            topic,
            [event for _, event in found.events],
            [record.offset for record in records],
            [record.timestamp for record in records],
        )
        return found.rejected

    def _update(
        self, topic: str, events: Sequence[Any], offsets: Sequence[int], timestamps: Sequence[int]
    ) -> None:
        view = self._view
        if topic == POSTS:
            view.update_posts(events, offsets, timestamps)
        elif topic == OVERRIDES:
            for key, override in events:
                view.update_override(key, override)
        else:
            view.update_signals(topic.removeprefix(SIGNALS), events, timestamps)


class RankingLetters:
    """Writes a dead letter for each rejected record, once this worker ranks.

    Beside the offset of `feed-shards[0]` the worker commits the notes ``<stage>.letters`` and
    ``<stage>.letters_of_overrides``: the timestamp of the newest record of signals, and of
    overrides, that has a dead letter.
    """

    def __init__(self, stage: str, context: StepContext) -> None:
        self._stage = stage
        self._note = f"{stage}.letters"
        self._note_of_overrides = f"{stage}.letters_of_overrides"
        self._context = context
        self._ranks = False
        # By note.
        self._until_ms: dict[str, int] = {}
        # Kept while nobody ranks, or it is not known yet whether they have dead letters: the newest
        # whole, those before them without key and value.
        self._waiting: deque[_Waiting] = deque()
        self._places: deque[_Waiting] = deque()
        self._bytes = 0
        # The times of records whose place was not kept either.
        self._lost: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        self._most_bytes = memory_shares(context.connection.environment).letter_bytes

    def assigned(self, change: AssignmentChange) -> None:
        """Learn which records have dead letters, where the ranking comes to this worker."""
        if FIRST_SHARD.partition in change.shards_kept:
            return
        self._ranks = False
        if FIRST_SHARD.partition in change.shards_gained:
            found = change.notes.get(FIRST_SHARD, {})
            self._until_ms = {
                note: int(found[note])
                for note in (self._note, self._note_of_overrides)
                if re.fullmatch(r"\d+", found.get(note, ""))
            }

    def claimed(self, writer: Writer) -> None:
        """Write what came while nobody ranked: from here on this worker writes letters."""
        self._ranks = True
        done_ms, waiting = self._until_ms.copy(), (*self._places, *self._waiting)
        self._waiting, self._places, self._bytes = deque(), deque(), 0
        for note, rejected in waiting:
            if rejected.record.timestamp > done_ms.get(note, _NEVER):
                self._write(note, rejected, writer)
        self._note_since(done_ms, writer)
        lost, self._lost = self._lost, defaultdict(self._lost.default_factory)
        for note, times in lost.items():
            topic = "overrides" if note == self._note_of_overrides else "signals.*"
            self._count_lost(topic, sum(at_ms > done_ms.get(note, _NEVER) for at_ms in times))

    def reject(self, rejected: Iterable[RejectedRecord], writer: Writer) -> None:
        """Write or keep records that break the contract; another stage writes those of `posts`."""
        before_ms = self._until_ms.copy()
        for refused in rejected:
            self._context.metrics.add("feedmill_rejected_total", topic=refused.source.topic)
            if refused.source.topic == "posts":
                continue
            is_override = refused.source.topic == "overrides"
            note = self._note_of_overrides if is_override else self._note
            if self._ranks:
                self._write(note, refused, writer)
            elif refused.record.timestamp > self._until_ms.get(note, _NEVER):
                self._keep(_Waiting(note, refused))
        self._note_since(before_ms, writer)

    def _write(self, note: str, rejected: RejectedRecord, writer: Writer) -> None:
        self._until_ms[note] = max(self._until_ms.get(note, _NEVER), rejected.record.timestamp)
        now_ms, is_whole = self._context.clock.now_ms(), not isinstance(rejected.record, _Place)
        if writer.reject(rejected, self._stage, now_ms, owner=FIRST_SHARD, is_whole=is_whole):
            self._context.metrics.add("feedmill_letters_total")

    def _note_since(self, before_ms: Mapping[str, int], writer: Writer) -> None:
        """Note which letters were written; the note is committed with them."""
        for note, at_ms in self._until_ms.items():
            if at_ms != before_ms.get(note, _NEVER):
                writer.note(FIRST_SHARD, note, str(at_ms))

    def _count_lost(self, topic: str, count: int) -> None:
        if count:
            self._context.metrics.add("feedmill_lost_letters_total", count)
            log.warning("%d bad records of %s came while nobody ranked: no letters", count, topic)

    def _keep(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._bytes += waiting.size
        while self._bytes > self._most_bytes:
            first = self._waiting.popleft()
            self._bytes -= first.size
            self._places.append(first.without_content())
        if len(self._places) > MOST_PLACES:
            lost = self._places.popleft()
            self._lost[lost.note].append(lost.rejected.record.timestamp)


class _Place(FetchedRecord, frozen=True, gc=False):
    """A record whose key and value were not kept."""


class _Waiting(NamedTuple):
    """A rejected record, and the note that tells whether its dead letter was written."""

    note: str
    rejected: RejectedRecord

    @property
    def size(self) -> int:
        record = self.rejected.record
        texts = len(record.key or b"") + len(record.value or b"") + len(self.rejected.reason)
        return texts + RECORD_BYTES

    def without_content(self) -> _Waiting:
        source, record, reason = self.rejected.source, self.rejected.record, self.rejected.reason
        # That of a batch is short, and says which offsets it has.
        value = record.value if isinstance(record.value, PassedBatch) else None
        place = _Place(record.offset, record.timestamp, None, value)
        return _Waiting(self.note, RejectedRecord(source, place, reason[:_MOST_REASON]))
