"""After a release, the step of a model scores the posts of the last week again.

    notes, version ─► behind? ─► signals.<name>[p]: what others decided ─► posts[p], the newest
    first ─► signals of the present version ─► note

Everything goes in slices of `background`, at a bounded rate: new posts go first.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from feedmill.events.decode import decode_signal, encode
from feedmill.events.errors import BadEvent
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TEXT_BYTES, Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.scoring.backfill_scan import BACK_MS
from feedmill.streams.scoring.backward_reader import BackwardReader
from feedmill.streams.scoring.last_written import LastWritten, UnseenSignals
from feedmill.streams.worker.decoding import read_posts
from feedmill.streams.worker.step import StepContext, Trial, WorkBatch, Writer, WrittenSignal

log = logging.getLogger(__name__)

# Beside the offsets: the version by which all posts of a partition are judged.
_NOTE = "scored."
# Noted instead of a version while a pass is under way: some posts are judged by another version.
_MIXED = "-"
SLICE_POSTS, _SLICE_BYTES = 32, TEXT_BYTES // 16
SLICE_SIGNALS = 200
# A cycle's posts go first: no more of a cycle than this.
_SLICE_S = 0.005
# What the rate allows is saved up for so long at most.
_SAVED_S = 0.25
MOST_STANDING = 100_000
_DECIDED = (b'"reason"', b'"overruled"')

# Makes the signals of some posts, given their records; and the signal of each that stands, where
# something else than the model decided it.  Or none: then the step itself writes them, in its next
# cycle.
Judge = Callable[[Sequence[Record], Sequence[Post], Sequence[Signal | None]], Sequence[Signal]]


@dataclass
class _Pass:
    """One pass over the partitions that are behind, for one version of the model."""

    version: str
    sources: tuple[TopicPartition, ...]
    unseen: UnseenSignals
    reader: BackwardReader | None = None
    standing: dict[bytes, Signal] = field(default_factory=dict)
    # By hash the keys whose newest version was met, and those that were judged since.
    met: set[int] = field(default_factory=set)
    judged: set[int] = field(default_factory=set)
    to_score: deque[Record] = field(default_factory=deque)
    # The slice that is scored next, and its trial, if it is tried before.
    slice: Sequence[Record] = ()
    trial: Trial | None = None
    # Whose records they are.
    source: TopicPartition = field(default_factory=lambda: TopicPartition("posts", 0))
    scored: int = 0
    began_at: float = field(default_factory=time.monotonic)


class Rescoring:
    """A part of a model's step: has every post judged by the version that runs.

    Beside the offset of each partition the worker commits the note ``scored.<name>``: the version
    by which all of its posts are judged, ``-`` where several judged them.  Whoever takes it over
    goes on.

    Parameters
    ----------
    name, names
        The model, and the signals of the installation; None where nothing else than the model
        decides its signal, so that none need be read.
    judge
        Makes the signals; what rules and campaigns decided must stay.
    rate
        The most posts a second; 0: none is ever scored again.
    open_log
        Makes the reader of `posts` and signals.

    Attributes
    ----------
    written
        Signals that were written, for the other steps; whoever hands them on empties it.
    """

    def __init__(
        self,
        name: str,
        names: SignalNames | None,
        judge: Judge,
        context: StepContext,
        open_log: Callable[[str], LogConsumer],
        *,
        rate: int,
    ) -> None:
        self.written: list[WrittenSignal] = []
        self._name = name
        self._topic = f"signals.{name}"
        self._note = _NOTE + name
        self._decode = None if names is None else partial(decode_signal, name, names)
        self._judge = judge
        self._context = context
        self._open_log = open_log
        self._rate = rate
        self._allowed, self._allowed_at = 0.0, time.monotonic()
        self._log: LogConsumer | None = None
        self._version: str = ""
        self._rules: Sequence[int] = ()
        self._held: Collection[int] = ()
        # By partition the version by which all of its posts are judged, what is noted, and the
        # offset behind its last post that was judged.
        self._judged_by: dict[int, str] = {}
        self._noted: dict[int, str] = {}
        self._ends: dict[int, int] = {}
        self._last = LastWritten()
        self._pass: _Pass | None = None
        # All are judged by the version that runs, and that is noted: nothing to look for.
        self._is_settled = False

    def follow(self, version: str, rules: Sequence[int] = ()) -> None:
        """Take the version that judges from now on, and that of the rules and lists."""
        if (version, rules) != (self._version, self._rules):
            self._version, self._rules = version, rules
            self._stop()

    def hold(self, partitions: Collection[int]) -> None:
        """Leave the posts of some partitions as they are until the next call without them.

        In a canary several versions judge them, and a model that is stopped judges none.
        Afterwards all are scored again.
        """
        if partitions != self._held:
            self._held = partitions
            self._stop()

    def note_held(self, writer: Writer) -> None:
        """Note that not one version alone judges the partitions that are held.

        Called before signals are written: note and signals are committed together.
        """
        for partition in self._held:
            if self._judged_by.get(partition, _MIXED) != _MIXED:
                self._mark_mixed(partition, writer)

    def assigned(self, change: AssignmentChange) -> None:
        """Learn by which versions the posts of an assignment are judged."""
        self._stop()
        for known in (self._judged_by, self._noted, self._ends):
            for partition in change.lost:
                known.pop(partition, None)
        self._last.drop(change.lost)
        owned = set(change.owned)
        self.written = [one for one in self.written if self._partition_of(one.post_id) in owned]
        for partition in change.gained:
            text = change.notes.get(partition, {}).get(self._note, "")
            # Without a note there was no release since notes are written.
            self._judged_by[partition] = text or self._version
            self._noted[partition] = text
            self._ends[partition] = change.starts.get(TopicPartition("posts", partition), 0)

    def note_written(self, work: WorkBatch, writer: Writer) -> None:
        """Take note of a cycle whose signals are written: they are of the present version."""
        if not self._is_settled:
            self._note_mixed(writer)
        if self._pass is not None:
            self._pass.judged.update(hash(one.record.key) for one in work.latest)
        newest = work.newest()
        self._last.note(newest)
        for partition, record, *_ in newest:
            if record.offset >= self._ends.get(partition, 0):
                self._ends[partition] = record.offset + 1

    def work(self, writer: Writer, budget_s: float) -> bool:
        """Do a slice; return whether there is more that may be done at once.

        Called once a cycle, behind `seal`: what a call wrote is sealed before the next one notes
        that it is done.
        """
        if not self._rate or self._is_settled:
            return False
        self._finish_pass()
        self._write_notes(writer)
        if self._pass is None:
            self._note_mixed(writer)
            behind = self._behind()
            if not behind:
                self._is_settled = True
                return False
            self._begin(behind)
        end = time.perf_counter() + min(budget_s, _SLICE_S)
        while self._pass is not None and self._slice(self._pass, writer):
            if time.perf_counter() >= end:
                return True
        return False

    @property
    def is_under_way(self) -> bool:
        """Whether posts are left that another version judged."""
        return bool(self._rate) and not self._is_settled

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    # --- one pass ---------------------------------------------------------------------------

    def _behind(self) -> list[int]:
        return [
            p
            for p, version in self._judged_by.items()
            if version != self._version and p not in self._held
        ]

    def _note_mixed(self, writer: Writer) -> None:
        """Note it with the first signals of another version: a kill loses both or neither."""
        for partition in self._behind() if self._rate else ():
            # Also if the version of before comes back: it did not judge all.
            self._mark_mixed(partition, writer)

    def _mark_mixed(self, partition: int, writer: Writer) -> None:
        self._judged_by[partition] = _MIXED
        if self._noted[partition] != _MIXED:
            writer.note(partition, self._note, _MIXED)
            self._noted[partition] = _MIXED

    def _begin(self, behind: Sequence[int]) -> None:
        sources = tuple(TopicPartition("posts", p) for p in sorted(behind))
        self._pass = _Pass(self._version, sources, self._last.unseen(self._topic, behind))
        self._context.metrics.set("feedmill_outdated_share", 1.0)
        if self._log is None:
            self._log = self._open_log(f"posts that {self._name} scores again")
        if self._decode is not None:
            since_ms = self._context.clock.now_ms() - BACK_MS
            signals = [TopicPartition(self._topic, at.partition) for at in sources]
            self._log.add_since(dict.fromkeys(signals, since_ms))
        else:
            self._read_posts(self._pass, self._log)

    def _stop(self) -> None:
        """Give a pass up: version, rules or partitions are others now."""
        self._is_settled = False
        if self._pass is not None and self._log is not None:
            self._log.drop(
                TopicPartition(topic, at.partition)
                for topic in ("posts", self._topic)
                for at in self._pass.sources
            )
        self._pass = None

    def _slice(self, now: _Pass, writer: Writer) -> bool:
        """Do a little; return whether it is worth to go on in this cycle."""
        if now.to_score or now.slice:
            return self._score(now, writer)
        if self._log is None or self._log.stopped:
            # Retention went over what was to be read: begin anew.
            self._stop()
            return False
        if now.reader is None:
            return self._read_signals(now, self._log)
        batch = now.reader.read()
        self._context.metrics.set("feedmill_outdated_share", now.reader.left)
        if batch is not None:
            self._find_newest(now, batch)
        return batch is not None

    def _read_signals(self, now: _Pass, signals: LogConsumer) -> bool:
        """Learn what something else than the model decided."""
        batches = signals.read(SLICE_SIGNALS)
        for batch in batches:
            now.unseen.see(batch)
            for record in batch.records:
                self._note_standing(now.standing, record)
        if signals.all_restored() and not now.unseen.wait():
            signals.drop(TopicPartition(self._topic, at.partition) for at in now.sources)
            self._read_posts(now, signals)
        return bool(batches)

    def _read_posts(self, now: _Pass, log: LogConsumer) -> None:
        since_ms = self._context.clock.now_ms() - BACK_MS
        ends = {at: self._ends[at.partition] for at in now.sources}
        now.reader = BackwardReader(log, ends, since_ms)

    def _note_standing(self, standing: dict[bytes, Signal], record: Record) -> None:
        key, value = record.key or b"", record.value
        standing.pop(key, None)
        if self._decode is None or not value or not any(part in value for part in _DECIDED):
            return
        try:
            standing[key] = self._decode(key, value)
        except BadEvent:
            return
        while len(standing) > MOST_STANDING:
            del standing[next(iter(standing))]

    def _find_newest(self, now: _Pass, batch: RecordBatch) -> None:
        """Take the records of a slice that are the newest of their posts, the newest first."""
        now.source = batch.source
        for record in reversed(batch.records):
            key = hash(record.key)
            if key not in now.met:
                now.met.add(key)
                now.to_score.append(record)

    def _score(self, now: _Pass, writer: Writer) -> bool:
        if not now.slice:
            most = min(SLICE_POSTS, self._allowance())
            if most < 1:
                return False
            now.slice = _first_slice(now.to_score, most)
            now.trial = self._context.try_posts(now.source, now.slice)
        if now.trial is not None and not now.trial.is_over:
            return False
        records = [record for record in now.slice if hash(record.key) not in now.judged]
        now.slice = ()
        if not records:
            return True
        of_slice = RecordBatch(now.source, records[::-1])
        poisoned = self._context.poisoned(now.source.partition)
        events = read_posts(of_slice, self._context.partitions, poisoned).events
        taken = [(record, post) for record, post in events[::-1] if isinstance(post, Post)]
        if not taken:
            return True
        standing = [self._standing(now.standing, record) for record, _ in taken]
        signals = self._judge([r for r, _ in taken], [post for _, post in taken], standing)
        for signal in signals:
            owner = self._partition_of(signal.post_id)
            writer.add(self._topic, signal.post_id.encode(), encode(signal), owner=owner)
            self.written.append(WrittenSignal(self._name, signal.post_id, signal))
        self._allowed -= len(taken)
        now.scored += len(taken)
        self._context.metrics.add("feedmill_rescored_total", len(taken))
        return True

    @staticmethod
    def _standing(standing: Mapping[bytes, Signal], record: Record) -> Signal | None:
        signal = standing.get(record.key or b"")
        return signal if signal is not None and signal.post_offset == record.offset else None

    def _allowance(self) -> int:
        now = time.monotonic()
        gained = (now - self._allowed_at) * self._rate
        self._allowed = min(self._allowed + gained, max(1.0, self._rate * _SAVED_S))
        self._allowed_at = now
        return int(self._allowed)

    def _finish_pass(self) -> None:
        now = self._pass
        if now is None or now.reader is None or not now.reader.is_done:
            return
        if now.to_score or now.slice:
            return
        for at in now.sources:
            self._judged_by[at.partition] = now.version
        self._pass = None
        self._context.metrics.set("feedmill_outdated_share", 0.0)
        seconds = time.monotonic() - now.began_at
        log.info(
            "%s %s: %d posts scored again within %.1f s",
            self._name, now.version, now.scored, seconds,
        )  # fmt: skip

    def _write_notes(self, writer: Writer) -> None:
        for partition, version in self._judged_by.items():
            if version == self._version and self._noted.get(partition) != version:
                writer.note(partition, self._note, version)
                self._noted[partition] = version

    def _partition_of(self, post_id: str) -> int:
        return partition_of(post_id.encode(), self._context.partitions)


def _first_slice(records: deque[Record], most: int) -> Sequence[Record]:
    """Take records from the left: so many, or those that reach the bytes of a slice."""
    found: list[Record] = []
    size = 0
    while records and len(found) < most and size < _SLICE_BYTES:
        found.append(records.popleft())
        size += len(found[-1].value or b"")
    return found
