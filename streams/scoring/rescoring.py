"""Brings the posts of the last week under the model, rules and lists that are in force now.

    notes, versions ─► behind? ─► signals.<name>[p]: what others decided ─► posts[p], the newest
    first ─► signals ─► notes

After a change of rules or lists, only the signals change that these decide.  After a release every
post is scored again, at a bounded rate.  Everything goes in slices of `background`: new posts go
first.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from feedmill.events.decode import decode_signal, encode
from feedmill.events.errors import BadEvent
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.events.signal import RULE_MODEL, Signal
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TEXT_BYTES, Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.worker.decoding import read_posts
from feedmill.streams.worker.step import (
    LatestEvent,
    StepContext,
    Trial,
    WorkBatch,
    Writer,
    WrittenSignal,
)

log = logging.getLogger(__name__)

# Instead of a version while a pass is under way: some posts are under another version.
MIXED = "-"
SLICE_OFFSETS = 2_000
_READ_RECORDS = 500
_UNSEEN_WITHIN_S = 60.0


BACK_MS = 168 * 3_600_000
# The version of rules and lists before any change of them.
NO_RULES = "-1"
SLICE_POSTS, _RULED_POSTS, _SLICE_BYTES = 32, 100, TEXT_BYTES // 16
SLICE_SIGNALS = 200
# A cycle's posts go first: no more of a cycle than this.
_SLICE_S = 0.005
# What the rate allows is saved up for so long at most.
_SAVED_S = 0.25
MOST_STANDING = 100_000
_DECIDED = (b'"reason"', b'"overruled"', f'"{RULE_MODEL}"'.encode())

# Makes the signals of some posts, given their records and the standing signal of each post that
# something else than the model decided.  It makes none where the standing signals are right, or
# where the step itself writes them in its next cycle.
Judge = Callable[[Sequence[Record], Sequence[Post], Sequence[Signal | None]], Sequence[Signal]]


class NotedVersion:
    """The version of something under which the posts of each partition are, beside that in force.

    Attributes
    ----------
    note
        The name under which the version is committed beside the offset of a partition.
    of
        By partition the version under which all of its posts are.
    """

    def __init__(self, note: str) -> None:
        self.note = note
        self.in_force = ""
        self.of: dict[int, str] = {}
        self._noted: dict[int, str] = {}

    def gain(self, partition: int, text: str, without: str) -> None:
        """Begin with the text of a partition's note; `without` holds where there is no note."""
        self.of[partition] = text or without
        self._noted[partition] = text

    def lose(self, partition: int) -> None:
        self.of.pop(partition, None)
        self._noted.pop(partition, None)

    def narrow(self) -> None:
        """Count partitions whose posts are under more parts than are in force as under these parts.

        A version is words: the model, then the parts that it judges.
        """
        first, *parts = self.in_force.split() or [""]
        for partition, version in self.of.items():
            was_first, *had = version.split() or [""]
            if was_first == first and set(parts) <= set(had):
                self.of[partition] = self.in_force

    def behind(self) -> list[int]:
        """Return the partitions with posts that are not under the version in force."""
        return sorted(p for p, version in self.of.items() if version != self.in_force)

    def mark_mixed(self, partition: int, writer: Writer) -> None:
        """Note that the posts of a partition are under several versions."""
        self.of[partition] = MIXED
        self._write(partition, writer)

    def write(self, writer: Writer) -> None:
        """Note which partitions are under the version in force."""
        for partition, version in self.of.items():
            if version == self.in_force:
                self._write(partition, writer)

    def _write(self, partition: int, writer: Writer) -> None:
        if self._noted[partition] != self.of[partition]:
            self._noted[partition] = self.of[partition]
            writer.note(TopicPartition("posts", partition), self.note, self.of[partition])


class _SignalOffset(msgspec.Struct):
    post_offset: int


_decode_offset = msgspec.json.Decoder(_SignalOffset).decode


def _is_shown_by(last: LatestEvent, record: Record) -> bool:
    """Whether a record of the signals is of this version, or a later one."""
    if record.key != (last.record.key or b""):
        return False
    if not record.value:
        return isinstance(last.event, Deletion)
    try:
        return _decode_offset(record.value).post_offset >= last.record.offset
    except DECODE_ERRORS:
        return False


class UnseenSignals:
    """The last signals that a worker wrote of some partitions: they may not be committed yet."""

    def __init__(self, topic: str, last: dict[int, LatestEvent]) -> None:
        self._topic = topic
        self._last = last
        self._began_at = time.monotonic()

    def see(self, batch: RecordBatch) -> None:
        """Look for these signals in a batch of their topic."""
        last = self._last.get(batch.source.partition)
        if last is not None and any(_is_shown_by(last, record) for record in batch.records):
            del self._last[batch.source.partition]

    def wait(self) -> bool:
        """Whether some of these signals are not committed yet; given up after a minute."""
        if self._last and time.monotonic() - self._began_at > _UNSEEN_WITHIN_S:
            log.warning("the last signals of %s do not appear on their topic", self._topic)
            self._last.clear()
        return bool(self._last)


@dataclass
class _Slice:
    """What lies between two offsets of a partition; `records` came so far."""

    source: TopicPartition
    low: int
    below: int
    records: list[Record] = field(default_factory=list)


class BackwardReader:
    """Reads partitions of `posts` from a place back to the first record of a time.

    In turns: the last slice of each partition, then the slice before it, and so on.

    Parameters
    ----------
    log
        Reads nothing else meanwhile.
    ends
        By partition the offset before which to begin.
    since_ms
        Records before the first one of this time, Unix milliseconds, are left out.
    """

    def __init__(self, log: LogConsumer, ends: Mapping[TopicPartition, int], since_ms: int) -> None:
        self._log = log
        self._ends = dict(ends)
        self._firsts: dict[TopicPartition, int] = {}
        self._below = dict(ends)
        self._turns: deque[TopicPartition] = deque(ends)
        self._slice: _Slice | None = None
        log.add_since(dict.fromkeys(ends, since_ms))

    @property
    def is_done(self) -> bool:
        """Whether everything was read."""
        return not self._turns and self._slice is None

    @property
    def left(self) -> float:
        """The fraction of the offsets that was not read yet."""
        if len(self._firsts) < len(self._ends):
            return 1.0
        spans = [end - self._firsts[at] for at, end in self._ends.items()]
        rest = [max(0, self._below[at] - first) for at, first in self._firsts.items()]
        return sum(rest) / max(1, sum(max(0, span) for span in spans))

    def read(self) -> RecordBatch | None:
        """Return a slice, in the order of its offsets; None: it is still to come, or none is left.

        None is also returned for a slice without records.
        """
        batches = self._log.read(_READ_RECORDS)
        if len(self._firsts) < len(self._ends):
            self._find_firsts(batches)
            return None
        if self._slice is None:
            self._begin()
            return None
        now = self._slice
        for batch in batches:
            now.records += [record for record in batch.records if record.offset < now.below]
        if self._log.positions().get(now.source, -1) < now.below:
            return None
        self._log.drop([now.source])
        self._slice = None
        self._below[now.source] = now.low
        self._turns.append(now.source)
        return RecordBatch(now.source, now.records) if now.records else None

    def _find_firsts(self, batches: list[RecordBatch]) -> None:
        for batch in batches:
            self._firsts.setdefault(batch.source, batch.records[0].offset)
        for source, position in self._log.positions().items():
            self._firsts.setdefault(source, position)
        if len(self._firsts) == len(self._ends):
            self._log.drop(self._ends)

    def _begin(self) -> None:
        while self._turns:
            source = self._turns.popleft()
            below, first = self._below[source], self._firsts[source]
            if below > first:
                low = max(first, below - SLICE_OFFSETS)
                self._slice = _Slice(source, low, below)
                self._log.add({source: low}, or_first=True)
                return


@dataclass
class _Pass:
    """A pass over the partitions that are behind: by the model, or by rules and lists alone."""

    by_model: bool
    sources: tuple[TopicPartition, ...]
    unseen: UnseenSignals
    reader: BackwardReader | None = None
    standing: dict[bytes, Signal] = field(default_factory=dict)
    # By hash the keys whose newest version was met, and those that were judged since.
    met: set[int] = field(default_factory=set)
    judged: set[int] = field(default_factory=set)
    to_judge: deque[Record] = field(default_factory=deque)
    # The slice that is judged next, and its trial, if it is tried before.
    slice: Sequence[Record] = ()
    trial: Trial | None = None
    # Whose records they are.
    source: TopicPartition = field(default_factory=lambda: TopicPartition("posts", 0))
    done: int = 0
    began_at: float = field(default_factory=time.monotonic)


class Rescoring:
    """A part of a model's step: has every post of a week judged by what is in force.

    Beside the offset of each partition the worker commits two notes.  ``scored.<name>`` is the
    version by which all of its posts are judged, ``-`` where several versions judged them;
    ``<name>.rules`` the last changes of rules and lists under which all are.  The next owner goes
    on from the notes.

    Parameters
    ----------
    judge, rule
        Make signals: `judge` by the model, keeping what rules and campaigns decided; `rule` by
        rules and lists alone, only those that change.  Without `rule` nothing else than the model
        decides its signal, so that no signal need be read.
    context
        Its environment says how many posts a second the model judges again at most; 0: none ever.

    Attributes
    ----------
    written
        Signals that were written, for the other steps; whoever hands them on empties it.
    """

    def __init__(
        self,
        name: str,
        judge: Judge,
        context: StepContext,
        open_log: Callable[[str], LogConsumer],
        rule: Judge | None = None,
    ) -> None:
        self.written: list[WrittenSignal] = []
        self._name = name
        self._topic = f"signals.{name}"
        self._decode = partial(decode_signal, name, context.connection.environment.signals)
        self._judge, self._rule = judge, rule
        self._context = context
        self._open_log = open_log
        self._rate = context.connection.environment.rescore_rate
        self._allowed, self._allowed_at = 0.0, time.monotonic()
        self._log: LogConsumer | None = None
        self._model = NotedVersion(f"scored.{name}")
        self._rules = NotedVersion(f"{name}.rules")
        self._held: Collection[int] = ()
        # By partition where its posts begin that come by work, and the last that a signal was
        # written of.
        self._starts: dict[int, int] = {}
        self._last: dict[int, LatestEvent] = {}
        self._pass: _Pass | None = None
        # All posts are under what is in force, and that is noted: there is nothing to do.
        self._is_settled = False

    def set_versions(self, version: str, rules: str = "") -> None:
        """Judge by this version, and these last changes of rules and lists, from now on."""
        if (version, rules) != (self._model.in_force, self._rules.in_force):
            self._model.in_force, self._rules.in_force = version, rules
            self._model.narrow()
            self._stop()

    def hold(self, partitions: Collection[int]) -> None:
        """Have the model judge no posts of these partitions again until a call without them.

        In a canary several versions judge them, and a model that is stopped judges none.
        Afterwards all of their posts are scored again.
        """
        if partitions != self._held:
            self._held = partitions
            self._stop()

    def note_held(self, writer: Writer) -> None:
        """Note that not one version alone judges the partitions that are held.

        Called before signals are written: note and signals are committed together.
        """
        for partition in self._held:
            if self._model.of.get(partition, MIXED) != MIXED:
                self._model.mark_mixed(partition, writer)

    def assigned(self, change: AssignmentChange) -> None:
        """Learn under which versions the posts of an assignment are."""
        self._stop()
        for partition in change.lost:
            self._model.lose(partition)
            self._rules.lose(partition)
            self._last.pop(partition, None)
        owned = set(change.owned)
        self.written = [s for s in self.written if self._partition_of(s.post_id) in owned]
        for partition in change.gained:
            at = TopicPartition("posts", partition)
            notes, start = change.notes.get(at, {}), change.starts.get(at, 0)
            self._starts[partition] = start
            # Without a note there was no release since notes are written.
            self._model.gain(partition, notes.get(self._model.note, ""), self._model.in_force)
            is_new = start == 0 or not self._rules.in_force
            unknown = self._rules.in_force if is_new else NO_RULES
            self._rules.gain(partition, notes.get(self._rules.note, ""), unknown)
        self._model.narrow()

    def note_written(self, work: WorkBatch, writer: Writer) -> None:
        """Count the posts of a cycle whose signals are written as under what is in force."""
        if not self._is_settled:
            self._note_mixed(writer)
        if self._pass is not None:
            self._pass.judged.update(hash(latest.record.key) for latest in work.latest)
        for latest in work.newest:
            last = self._last.get(latest.partition)
            if last is None or latest.record.offset >= last.record.offset:
                self._last[latest.partition] = latest

    def work(self, writer: Writer, budget_s: float) -> bool:
        """Do a slice; return whether there is more that may be done at once.

        Called once a cycle, behind `seal`: what a call wrote is sealed before the next call notes
        that it is done.
        """
        if self._is_settled:
            return False
        self._finish_pass()
        self._rules.write(writer)
        if self._pass is None:
            self._note_mixed(writer)
            # What rules decide comes first: it need not be scored, or little of it.
            behind = self._rules.behind()
            if not behind and not self._behind():
                self._is_settled = True
                return False
            self._begin(behind or self._behind(), by_model=not behind)
        end = time.perf_counter() + min(budget_s, _SLICE_S)
        while self._pass is not None and self._slice(self._pass, writer):
            if time.perf_counter() >= end:
                return True
        return self._pass is not None and not self._pass.by_model

    @property
    def is_under_way(self) -> bool:
        """Whether posts are left that are not under what is in force."""
        return not self._is_settled and bool(self._rate or self._rules.behind())

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    # --- one pass ---------------------------------------------------------------------------

    def _behind(self) -> list[int]:
        return [p for p in self._model.behind() if p not in self._held] if self._rate else []

    def _note_mixed(self, writer: Writer) -> None:
        """Note it with the first signals of another version: a kill loses both or neither."""
        for partition in self._behind():
            # Also if the former version comes back: it did not judge all posts.
            self._model.mark_mixed(partition, writer)
        if self._rate:
            self._model.write(writer)

    def _begin(self, behind: Sequence[int], *, by_model: bool) -> None:
        sources = tuple(TopicPartition("posts", p) for p in behind)
        last = {p: latest for p, latest in self._last.items() if p in behind}
        self._pass = _Pass(by_model, sources, UnseenSignals(self._topic, last))
        if by_model:
            self._context.metrics.set("feedmill_outdated_share", 1.0)
        else:
            # A note of a change that is not known here may be there: `config` was made anew.
            self._rules.of.update(dict.fromkeys(behind, MIXED))
        if self._log is None:
            self._log = self._open_log(f"posts that {self._name} judges again")
        if self._rule is not None:
            since_ms = self._context.clock.now_ms() - BACK_MS
            signals = [TopicPartition(self._topic, at.partition) for at in sources]
            self._log.add_since(dict.fromkeys(signals, since_ms))
        else:
            self._read_posts(self._pass, self._log)

    def _stop(self) -> None:
        """Give a pass up, because versions or partitions are others now."""
        self._is_settled = False
        if self._pass is not None and self._log is not None:
            self._log.drop(
                TopicPartition(topic, at.partition)
                for topic in ("posts", self._topic)
                for at in self._pass.sources
            )
        self._pass = None

    def _slice(self, now: _Pass, writer: Writer) -> bool:
        if now.to_judge or now.slice:
            return self._judge_some(now, writer)
        if self._log is None or self._log.stopped:
            # Retention went over what was to be read: begin anew.
            self._stop()
            return False
        if now.reader is None:
            return self._read_signals(now, self._log)
        batch = now.reader.read()
        if now.by_model:
            self._context.metrics.set("feedmill_outdated_share", now.reader.left)
        if batch is None:
            return False
        now.source = batch.source
        # The records that are the newest of their posts, the newest first.
        for record in reversed(batch.records):
            key = hash(record.key)
            if key not in now.met:
                now.met.add(key)
                now.to_judge.append(record)
        return True

    def _read_signals(self, now: _Pass, signals: LogConsumer) -> bool:
        """Read which signals something else than the model decided."""
        batches = signals.read(SLICE_SIGNALS)
        for batch in batches:
            now.unseen.see(batch)
            for record in batch.records:
                self._note_standing(now.standing, record)
        if signals.all_restored() and not now.unseen.wait():
            signals.drop(TopicPartition(self._topic, at.partition) for at in now.sources)
            self._read_posts(now, signals)
        return bool(batches)

    def _read_posts(self, now: _Pass, posts: LogConsumer) -> None:
        since_ms = self._context.clock.now_ms() - BACK_MS
        ends = {}
        for at in now.sources:
            last = self._last.get(at.partition)
            behind_last = 0 if last is None else last.record.offset + 1
            ends[at] = max(self._starts[at.partition], behind_last)
        now.reader = BackwardReader(posts, ends, since_ms)

    def _note_standing(self, standing: dict[bytes, Signal], record: Record) -> None:
        key, value = record.key or b"", record.value
        standing.pop(key, None)
        if not value or not any(part in value for part in _DECIDED):
            return
        try:
            standing[key] = self._decode(key, value)
        except BadEvent:
            return
        while len(standing) > MOST_STANDING:
            del standing[next(iter(standing))]

    def _judge_some(self, now: _Pass, writer: Writer) -> bool:
        if not now.slice:
            most = min(SLICE_POSTS, self._allowance()) if now.by_model else _RULED_POSTS
            if most < 1:
                return False
            now.slice = _first_slice(now.to_judge, most)
            now.trial = self._context.worker.try_posts(now.source, now.slice)
        if now.trial is not None and not now.trial.is_over:
            return False
        records = [record for record in now.slice if hash(record.key) not in now.judged]
        now.slice = ()
        if not records:
            return True
        of_slice = RecordBatch(now.source, records[::-1])
        poisoned = self._context.poisoned.get(now.source.partition, {})
        events = read_posts(of_slice, self._context.partitions, poisoned).events
        taken = [(record, post) for record, post in events[::-1] if isinstance(post, Post)]
        if not taken:
            return True
        found = [now.standing.get(record.key or b"") for record, _ in taken]
        standing = [
            signal if signal is not None and signal.post_offset == record.offset else None
            for signal, (record, _) in zip(found, taken, strict=True)
        ]
        judge = self._judge if now.by_model or self._rule is None else self._rule
        signals = judge([r for r, _ in taken], [post for _, post in taken], standing)
        for signal in signals:
            owner = TopicPartition("posts", self._partition_of(signal.post_id))
            writer.add(self._topic, signal.post_id.encode(), encode(signal), owner=owner)
            self.written.append(WrittenSignal(self._name, signal.post_id, signal))
        if now.by_model:
            self._allowed -= len(taken)
            self._context.metrics.add("feedmill_rescored_total", len(taken))
        now.done += len(taken) if now.by_model else len(signals)
        return True

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
        if now.to_judge or now.slice:
            return
        version = self._model if now.by_model else self._rules
        version.of.update((at.partition, version.in_force) for at in now.sources)
        self._pass = None
        seconds = time.monotonic() - now.began_at
        if now.by_model:
            self._context.metrics.set("feedmill_outdated_share", 0.0)
            what, did = f"{self._name} {version.in_force}", "posts scored again"
        else:
            what, did = f"rules of {self._name} changed", "signals rewritten"
        log.info("%s: %d %s within %.1f s", what, now.done, did, seconds)

    def _partition_of(self, post_id: str) -> int:
        return partition_of(post_id.encode(), self._context.partitions)


def _first_slice(records: deque[Record], most: int) -> Sequence[Record]:
    """Remove and return the first records: so many, or those that reach the bytes of a slice."""
    found: list[Record] = []
    size = 0
    while records and len(found) < most and size < _SLICE_BYTES:
        found.append(records.popleft())
        size += len(found[-1].value or b"")
    return found
