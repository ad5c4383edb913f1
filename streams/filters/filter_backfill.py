"""When its rules or lists change, a filter's step applies them to the posts of the last week too.

    notes, rules ─► behind? ─► posts[p] ─► signals.<name>[p] ─► rewritten signals ─► note

Rules alone decide anew: what model, guard and campaign said at the time of the post stands in its
signal.  Everything goes in slices of `background`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from feedmill.events.decode import encode
from feedmill.events.partition import partition_of
from feedmill.events.signal import RuleVerdict, Signal, SignalNames
from feedmill.filters.filter_rules import FilterRules
from feedmill.filters.rules import RuleMatch
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TEXT_BYTES, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.scoring.backfill_scan import BACK_MS, BackfillMatch, BackfillScan
from feedmill.streams.scoring.last_written import LastWritten, UnseenSignals
from feedmill.streams.worker.step import StepContext, WorkBatch, Writer, WrittenSignal

log = logging.getLogger(__name__)

# As the offset of a change of rules or lists: before any.
NEVER = -1

# The last changes of the rules, in `config`, and of the lists, in `models`, that are in force.
_Version = tuple[int, int]
_NEVER: _Version = (NEVER, NEVER)
_UNKNOWN: _Version = (-2, -2)
SLICE_RECORDS, SLICE_BYTES = 100, TEXT_BYTES // 8
SLICE_SIGNALS = 50
# A cycle's posts go first: no more of a cycle than this.
_SLICE_S = 0.005


@dataclass
class _Pass:
    """One pass over the partitions that are behind, for one version of the rules."""

    version: _Version
    partitions: tuple[int, ...]
    scan: BackfillScan
    unseen: UnseenSignals
    phase: str = "posts"  # then "signals", "rewrite"
    changed: int = 0
    wrote: bool = False
    began_at: float = field(default_factory=time.monotonic)


class FilterBackfill:
    """A part of a filter's step: brings every post under the present rules.

    Beside the offset of each partition the worker commits the note ``<name>.rules``: the last
    changes of the rules, and of the lists if there are any, under which all of its posts are.
    Whoever takes it over goes on.

    Attributes
    ----------
    written
        Signals that were rewritten, for the other steps; whoever hands them on empties it.
    """

    def __init__(
        self,
        name: str,
        names: SignalNames,
        rules: FilterRules,
        verdict_of: Callable[[RuleMatch], RuleVerdict],
        context: StepContext,
        open_log: Callable[[str], LogConsumer],
    ) -> None:
        self.written: list[WrittenSignal] = []
        self._name = name
        self._names = names
        self._topic = f"signals.{name}"
        self._note = f"{name}.rules"
        self._rules = rules
        self._verdict_of = verdict_of
        self._context = context
        self._open_log = open_log
        self._log: LogConsumer | None = None
        self._version = _NEVER
        # By partition the version of the rules that its posts are under, and what is noted.
        self._searched: dict[int, _Version] = {}
        self._noted: dict[int, _Version] = {}
        self._last = LastWritten()
        self._pass: _Pass | None = None
        # All are under the present rules, and that is noted: nothing to look for.
        self._is_settled = False

    def follow(self, rules: int, lists: int = NEVER) -> None:
        """Take the offsets of the last changes of rules and lists; `NEVER`: there was none."""
        version = rules, lists
        if version != self._version:
            self._version = version
            self._stop()

    def assigned(self, change: AssignmentChange) -> None:
        """Learn how far the posts of an assignment are."""
        self._stop()
        for partition in change.lost:
            self._searched.pop(partition, None)
        self._last.drop(change.lost)
        owned = set(change.owned)
        self.written = [
            one for one in self.written if self._partition_of(one.post_id.encode()) in owned
        ]
        for partition in change.gained:
            text = change.notes.get(partition, {}).get(self._note)
            is_new = change.starts.get(TopicPartition("posts", partition), 0) == 0
            self._searched[partition] = self._read(text, is_new=is_new)
        self._noted = {
            p: at
            for p, at in self._searched.items()
            if change.notes.get(p, {}).get(self._note) == _note_of(at)
        }

    def _read(self, text: str | None, *, is_new: bool) -> _Version:
        if text is None:
            return self._version if is_new else _NEVER
        found = re.fullmatch(r"(-?\d+)(?: (-?\d+))?", text)
        return _NEVER if found is None else (int(found[1]), int(found[2] or NEVER))

    def note_written(self, work: WorkBatch) -> None:
        """Take note of a cycle whose signals are written: they follow the present rules."""
        if self._pass is not None:
            self._pass.scan.note(one.record for one in work.latest)
        self._last.note(work.newest())

    def work(self, writer: Writer, budget_s: float) -> bool:
        """Do a slice; return whether there is more to do.

        Called once a cycle, behind `seal`: what a call added is sealed before the next one notes
        that it is done.
        """
        if self._is_settled:
            return False
        self._write_notes(writer)
        if self._pass is None:
            behind = [p for p, at in self._searched.items() if at != self._version]
            if not behind:
                self._is_settled = True
                return False
            self._begin(tuple(sorted(behind)))
        end = time.perf_counter() + min(budget_s, _SLICE_S)
        while self._pass is not None and self._slice(self._pass, writer):
            if time.perf_counter() >= end:
                break
        return self._pass is not None

    @property
    def is_under_way(self) -> bool:
        """Whether posts are left that are not under the present rules."""
        return not self._is_settled

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    # --- one pass ---------------------------------------------------------------------------

    def _begin(self, partitions: tuple[int, ...]) -> None:
        # A note of a change that is not known here may be there: `config` was made anew.
        self._searched.update(dict.fromkeys(partitions, _UNKNOWN))
        scan = BackfillScan(self._name, self._names, self._rules.in_force)
        self._pass = _Pass(
            self._version, partitions, scan, self._last.unseen(self._topic, partitions)
        )
        if self._log is None:
            self._log = self._open_log(f"posts and signals for the rules of {self._name}")
        if len(self._rules.in_force):
            self._add("posts", partitions)
        else:
            self._pass.phase = "signals"
            self._add(self._topic, partitions)

    def _add(self, topic: str, partitions: Iterable[int]) -> None:
        since_ms = self._context.clock.now_ms() - BACK_MS
        if self._log is not None:
            self._log.add_since({TopicPartition(topic, p): since_ms for p in partitions})

    def _stop(self) -> None:
        """Give a pass up: rules or partitions are others now."""
        self._is_settled = False
        if self._pass is not None and self._log is not None:
            self._log.drop(
                TopicPartition(topic, p)
                for topic in ("posts", self._topic)
                for p in self._pass.partitions
            )
        self._pass = None

    def _slice(self, now: _Pass, writer: Writer) -> bool:
        """Do a little; return whether it is worth to go on in this cycle."""
        if now.phase == "rewrite":
            return self._rewrite(now, writer)
        return self._scan(now)

    def _scan(self, now: _Pass) -> bool:
        if self._log is None:
            return False
        batches = self._log.read(SLICE_RECORDS, most_bytes=SLICE_BYTES)
        if self._log.stopped:
            # Retention went over what was to be read: begin anew.
            self._stop()
            return False
        for batch in batches:
            if now.phase == "posts":
                poisoned = self._context.poisoned(batch.source.partition)
                now.scan.scan_posts(batch, self._context.partitions, poisoned)
            else:
                now.scan.scan_signals(batch)
                now.unseen.see(batch)
        if self._log.all_restored() and (now.phase == "posts" or not now.unseen.wait()):
            topic = "posts" if now.phase == "posts" else self._topic
            self._log.drop(TopicPartition(topic, p) for p in now.partitions)
            if now.phase == "posts":
                now.phase = "signals"
                self._add(self._topic, now.partitions)
            else:
                now.phase = "rewrite"
            return True
        return bool(batches)

    def _rewrite(self, now: _Pass, writer: Writer) -> bool:
        matches = now.scan.take(SLICE_SIGNALS)
        for match in matches:
            signal = self._rewritten(match)
            if signal is not None:
                key = signal.post_id.encode()
                writer.add(self._topic, key, encode(signal), owner=self._partition_of(key))
                self.written.append(WrittenSignal(self._name, signal.post_id, signal))
                now.changed += 1
                now.wrote = True
        if matches:
            return True
        if now.wrote:
            # Sealed before the next call, so that the note is not committed without them.
            now.wrote = False
            return False
        for partition in now.partitions:
            self._searched[partition] = now.version
        seconds = time.monotonic() - now.began_at
        log.info(
            "rules of %s changed: %d signals rewritten within %.1f s",
            self._name, now.changed, seconds,
        )  # fmt: skip
        self._pass = None
        self._write_notes(writer)
        return False

    def _rewritten(self, match: BackfillMatch) -> Signal | None:
        """The signal under the present rules; None if it is the same."""
        old, at_ms = match.signal, self._context.clock.now_ms()
        if match.hit is None:
            signal = old.without_rule(at_ms)
        else:
            signal = old.with_rule(self._verdict_of(match.hit), at_ms)
        if msgspec.structs.replace(signal, at_ms=old.at_ms) == old:
            return None
        return signal.with_revision(max(old.revision, self._version[0] + 1))

    def _write_notes(self, writer: Writer) -> None:
        for partition, searched in self._searched.items():
            if self._noted.get(partition) != searched and searched != _UNKNOWN:
                writer.note(partition, self._note, _note_of(searched))
                self._noted[partition] = searched

    def _partition_of(self, key: bytes) -> int:
        return partition_of(key, self._context.partitions)


def _note_of(version: _Version) -> str:
    """Return the text of a note: without lists, that of workers which know no lists."""
    rules, lists = version
    return str(rules) if lists == NEVER else f"{rules} {lists}"
