"""Finds the posts of the last week that new rules or lists are about, and what was said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from feedmill.events.decode import decode_signal
from feedmill.events.errors import BadEvent
from feedmill.events.post import Deletion
from feedmill.events.signal import RULE_MODEL, Signal, SignalNames
from feedmill.filters.filter_rules import RulesAndLists
from feedmill.filters.rules import RuleMatch, RuleSet
from feedmill.streams.kafka.batches import Record, RecordBatch
from feedmill.streams.worker.decoding import read_posts

BACK_MS = 168 * 3_600_000
MOST_POSTS = 100_000

_BY_RULE = f'"{RULE_MODEL}"'.encode()


class BackfillMatch(NamedTuple):
    """A post by the last signal of it, and the rule that now decides for that version."""

    signal: Signal
    hit: RuleMatch | None


class _RuleHit(NamedTuple):
    partition: int
    offset: int
    hit: RuleMatch


class BackfillScan:
    """One pass over some partitions of `posts`, then over those of the filter's signals.

    Finds what the filter has judged and the rules hit, and what some rule has decided so far.
    What it has judged since the search was made is left out: it knew the rules.  Takes memory for
    the posts found, of which the newest `MOST_POSTS` are kept.
    """

    def __init__(self, name: str, names: SignalNames, rules: RuleSet | RulesAndLists) -> None:
        self._signals = f"signals.{name}"
        self._decode = partial(decode_signal, name, names)
        self._rules = rules
        self._hits: dict[bytes, _RuleHit] = {}
        self._found: dict[bytes, BackfillMatch] = {}
        self._newer: dict[bytes, int] = {}
        # By partition from where to where all hits are known.
        self._first: dict[int, int] = {}
        self._end: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._found)

    def scan_posts(
        self, batch: RecordBatch, partitions: int, poisoned: Mapping[int, str] | None = None
    ) -> None:
        """Note the posts of a batch of `posts` that a rule hits; `poisoned` ones have no text."""
        partition = batch.source.partition
        self._first.setdefault(partition, batch.records[0].offset)
        self._end[partition] = batch.end
        events = read_posts(batch, partitions, poisoned or {}).events
        posts = [(record, post) for record, post in events if not isinstance(post, Deletion)]
        at_ms = [record.timestamp for record, _ in posts]
        hits = self._rules.verdicts([post for _, post in posts], at_ms)
        for (record, _), hit in zip(posts, hits, strict=True):
            if hit is not None:
                key = record.key or b""
                self._hits.pop(key, None)
                self._hits[key] = _RuleHit(partition, record.offset, hit)
        while len(self._hits) > MOST_POSTS:
            dropped = self._hits.pop(next(iter(self._hits)))
            self._first[dropped.partition] = dropped.offset + 1

    def scan_signals(self, batch: RecordBatch) -> None:
        """Note the last signals that are about those posts, and those that a rule decided."""
        for record in batch.records:
            key, value = record.key or b"", record.value
            self._found.pop(key, None)
            if not value or (key not in self._hits and _BY_RULE not in value):
                continue
            try:
                signal = self._decode(key, value)
            except BadEvent:
                continue
            found = self._about(batch.source.partition, key, signal)
            if found is not None:
                self._found[key] = found
        while len(self._found) > MOST_POSTS:
            del self._found[next(iter(self._found))]

    def _about(self, partition: int, key: bytes, signal: Signal) -> BackfillMatch | None:
        at = self._hits.get(key)
        if at is not None and at.offset >= signal.post_offset:
            return BackfillMatch(signal, at.hit) if at.offset == signal.post_offset else None
        if signal.model != RULE_MODEL or not self._has_read(partition, signal.post_offset):
            return None
        return BackfillMatch(signal, None)

    def _has_read(self, partition: int, offset: int) -> bool:
        """Whether a version that is no hit is known to be none."""
        if not len(self._rules):
            return True
        return self._first.get(partition, offset + 1) <= offset < self._end.get(partition, 0)

    def note(self, records: Iterable[Record]) -> None:
        """The stage has judged these versions meanwhile."""
        for record in records:
            self._newer[record.key or b""] = record.offset

    def take(self, count: int) -> list[BackfillMatch]:
        """Up to `count` of what was found and not judged since, each once; none: no more."""
        taken: list[BackfillMatch] = []
        while self._found and len(taken) < count:
            key, found = self._found.popitem()
            if self._newer.get(key, -1) < found.signal.post_offset:
                taken.append(found)
        return taken
