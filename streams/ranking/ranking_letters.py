"""Dead letters of `signals.*` and `overrides`: one for each bad record, however often it is read.

The worker that ranks writes them.  A restore finds old bad records again, and some that came while
nobody ranked; the time of the last one that has a dead letter tells them apart.  Overrides have a
time of their own: they are read ahead of signals.
"""

from __future__ import annotations

import logging
import re
from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from feedmill.streams.environment import memory_shares
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batch_headers import PassedBatch
from feedmill.streams.kafka.batches import RECORD_BYTES, FetchedRecord
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.ranking.ranking_claim import FIRST_SHARD
from feedmill.streams.worker.step import StepContext, Writer

log = logging.getLogger(__name__)

# Of what waits beyond the bound on bytes its place is kept alone, and of so many records.
MOST_PLACES = 20_000
_MOST_REASON = 200
_NEVER = -1


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
        # The times of those that were not even kept so.
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
        """Write what came while nobody ranked: from here on this worker does."""
        self._ranks = True
        done_ms, waiting = self._until_ms.copy(), (*self._places, *self._waiting)
        self._waiting, self._places, self._bytes = deque(), deque(), 0
        for note, one in waiting:
            if one.record.timestamp > done_ms.get(note, _NEVER):
                self._write(note, one, writer)
        self._note_since(done_ms, writer)
        lost, self._lost = self._lost, defaultdict(self._lost.default_factory)
        for note, times in lost.items():
            topic = "overrides" if note == self._note_of_overrides else "signals.*"
            self._count_lost(topic, sum(at_ms > done_ms.get(note, _NEVER) for at_ms in times))

    def reject(self, rejected: Iterable[RejectedRecord], writer: Writer) -> None:
        """Take records that break the contract; those of `posts` are another stage's."""
        before_ms = self._until_ms.copy()
        for one in rejected:
            self._context.metrics.add("feedmill_rejected_total", topic=one.source.topic)
            if one.source.topic == "posts":
                continue
            is_override = one.source.topic == "overrides"
            note = self._note_of_overrides if is_override else self._note
            if self._ranks:
                self._write(note, one, writer)
            elif one.record.timestamp > self._until_ms.get(note, _NEVER):
                self._keep(_Waiting(note, one))
        self._note_since(before_ms, writer)

    def _write(self, note: str, one: RejectedRecord, writer: Writer) -> None:
        self._until_ms[note] = max(self._until_ms.get(note, _NEVER), one.record.timestamp)
        now_ms, is_whole = self._context.clock.now_ms(), not isinstance(one.record, _Place)
        if writer.reject(one, self._stage, now_ms, owner=FIRST_SHARD, is_whole=is_whole):
            self._context.metrics.add("feedmill_letters_total")

    def _note_since(self, before_ms: Mapping[str, int], writer: Writer) -> None:
        """Note what was written, which is committed with it."""
        for note, at_ms in self._until_ms.items():
            if at_ms != before_ms.get(note, _NEVER):
                writer.note(FIRST_SHARD, note, str(at_ms))

    def _count_lost(self, topic: str, count: int) -> None:
        if count:
            self._context.metrics.add("feedmill_lost_letters_total", count)
            log.warning("%d bad records of %s came while nobody ranked: no letters", count, topic)

    def _keep(self, one: _Waiting) -> None:
        self._waiting.append(one)
        self._bytes += one.size
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
