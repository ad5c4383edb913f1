"""Feeds and signals in Redis as the engine writes them, for the tests of what reads them.

The combiner decides and `BatchWriter` writes: a reader that does not know their shape fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis

from builders.changes import write_batch
from builders.events import post, settings_of, signal
from builders.waiting import now_ms
from feedmill.events.decode import decode_override
from feedmill.events.experiment import Policy
from feedmill.events.override import Override
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import Combiner, FeedChange, SignalsChange
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.pipelines import open_pipeline
from feedmill.streams.redis.write_batch import WriteReport
from feedmill.streams.redis.writes import FRESH_MS

# Redis forgets a post that is older than every window.
CREATED_MS = now_ms() - 3_600_000


class NotWrittenError(Exception):
    """Redis refused a write: a newer owner has the key."""


@dataclass
class WrittenRedis:
    """Writes under one prefix, and under one owner's token.

    Every write is that of a combiner that has just started.
    """

    url: str
    prefix: str
    names: SignalNames = field(default_factory=SignalNames)
    token: int = 1

    def __post_init__(self) -> None:
        self.client = redis.Redis.from_url(self.url)
        self.settings = Settings(self.names)

    def set(self, key: str, value: Any) -> None:
        """Follow a setting in what is written from here on."""
        self.settings = settings_of((key, value), before=self.settings)

    def signals(
        self,
        post_id: str,
        signals: Mapping[str, float | Mapping[str, Any]] | None = None,
        *,
        author_id: str = "ann",
        created_ms: int = CREATED_MS,
        post_offset: int = 7,
        overrides: Mapping[str, Override] | None = None,
        at_ms: int | None = None,
    ) -> None:
        """Write `signals:<post_id>` of a post that has these signals and no others.

        A signal is its value, or those fields in which it differs from one of this version.
        `overrides` are by their key, "post:p1|*".  The decision is the combiner's at `at_ms`.
        """
        decided_at_ms = now_ms() if at_ms is None else at_ms
        combiner = Combiner(self.names, self.settings)
        view = combiner.view
        written = post(post_id, author_id=author_id, created_at_ms=created_ms)
        view.update_post(written, post_offset, created_ms)
        for name, given in (signals or {}).items():
            fields = given if isinstance(given, Mapping) else {"value": given}
            usual = {"value": None, "model": name, "version": f"{name}-v1", "at_ms": 1}
            view.update_signal(
                name, signal(post_id, **{"post_offset": post_offset, **usual, **fields})
            )
        for key, override in (overrides or {}).items():
            view.update_override(decode_override(self.names, key.encode(), None)[0], override)
        changes = combiner.cycle(decided_at_ms).signals
        self._write(changes, [], decided_at_ms)

    def feed(
        self,
        feed: str,
        scores: Mapping[str, float],
        *,
        fresh_until_ms: int | None = None,
        arms: Mapping[str, Mapping[str, float]] | None = None,
    ) -> int:
        """Write a whole feed, with arms of the experiment in it, and publish; returns its version.

        `arms` are by `<experiment>.<arm>`.
        """
        written_at_ms = now_ms() if fresh_until_ms is None else fresh_until_ms - FRESH_MS
        policy = Policy(self.settings.weights_of(feed), self.settings.gates_of(feed))
        running = self.settings.running.get(feed)
        change = self._list(feed, scores, policy)
        if running is not None:
            lists = [self._list(n, (arms or {})[n], own) for n, own in running.arms.items()]
            change = msgspec.structs.replace(change, experiment=running.info(), arms=lists)
        self._write([], [change], written_at_ms)
        version = self.client.hget(f"{self.prefix}feed:{{{feed}}}:info", "version")
        assert isinstance(version, bytes)
        return int(version)

    def _list(self, name: str, scores: Mapping[str, float], policy: Policy) -> FeedChange:
        ranking = sorted(scores.items(), key=lambda entry: -entry[1])
        return FeedChange(*(name, True, ranking, (), len(ranking)), *policy, self.settings.offset)

    def close(self) -> None:
        """Delete every key of the prefix."""
        for key in self.client.scan_iter(f"{self.prefix}*"):
            self.client.delete(key)
        self.client.close()

    def _write(self, signals: list[SignalsChange], feeds: list[FeedChange], at_ms: int) -> None:
        writer, report = BatchWriter(open_pipeline(self.url), self.prefix), WriteReport()
        fresh = {change.feed for change in feeds}
        batch = write_batch(*signals, *feeds, token=self.token, at_ms=at_ms, fresh_feeds=fresh)
        unwritten = writer.write(batch, report)
        writer.tend(report)
        writer.close()
        if unwritten or report.errors:
            raise NotWrittenError(report)
