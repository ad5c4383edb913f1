"""Writes what the combiner hands out to Redis: atomically, under the owner's token.

Every write is one script on the keys of one slot, which refuses a lower token than
the key's, and says so when Redis does not hold what a change is about (a flush,
another writer): the combiner then writes it whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import redis.asyncio

from feedmill.events.partition import shard_of
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.feed_commands import FRESH_MS

WRITTEN, NOT_THERE, OUTDATED = 1, 0, -1
CHANGES_EVERY_S = 0.1  # at most ten `feed-changes` a second a feed

_HERE = Path(__file__).parent
_encode = msgspec.json.Encoder().encode


@dataclass
class WriteResult:
    """What of a write did not stand: to be written whole, or another's by now."""

    missing_feeds: list[str] = field(default_factory=list)
    missing_posts: list[str] = field(default_factory=list)
    outdated: int = 0
    written: list[str] = field(default_factory=list)


class RedisWriter:
    """One combiner's hand on Redis.

    `token_of` gives the owner's token of a shard.  Raises `redis.RedisError` when Redis
    is away; what was to be written is then unknown, and must be written whole.
    """

    def __init__(
        self, client: redis.asyncio.Redis, prefix: str, token_of: Callable[[int], int]
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._token_of = token_of
        self._feed_script = client.register_script((_HERE / "feed.lua").read_text())
        self._signals_script = client.register_script((_HERE / "signals.lua").read_text())
        self._versions: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._loaded = False
        self._announcements: dict[str, tuple[int, int, int]] = {}
        self._announced_at: dict[str, float] = {}

    async def write(
        self,
        signals: Sequence[SignalsChange],
        feeds: Sequence[FeedChange],
        now_ms: int,
        is_fresh: Callable[[FeedChange], bool],
    ) -> WriteResult:
        """Write signals, then feeds: no feed shows a post whose signals are not there."""
        if not self._loaded:
            await self._load()
        pipeline = self._client.pipeline(transaction=False)
        for change in signals:
            self._add_signals(pipeline, change)
        for feed in feeds:
            self._add_feed(pipeline, feed, now_ms, is_fresh(feed))
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except redis.RedisError:
            self._loaded = False
            raise
        self._raise_errors(answers)
        outcome = WriteResult()
        self._read_signals(signals, answers, outcome)
        self._read_feeds(feeds, answers[len(signals) :], now_ms, outcome)
        return outcome

    async def announce(self) -> None:
        """Publish the changes of feeds on `feed-changes` whose turn it is."""
        now = time.monotonic()
        due = [
            feed
            for feed in self._announcements
            if now - self._announced_at.get(feed, -1.0) >= CHANGES_EVERY_S
        ]
        if not due:
            return
        pipeline = self._client.pipeline(transaction=False)
        for feed in due:
            version, offset, at_ms = self._announcements.pop(feed)
            self._announced_at[feed] = now
            told = {"feed": feed, "version": version, "config_offset": offset, "at_ms": at_ms}
            pipeline.publish(self._prefix + "feed-changes", _encode(told))
        await pipeline.execute()

    @property
    def has_announcements(self) -> bool:
        """Whether a change waits for its turn to be published."""
        return bool(self._announcements)

    def forget(self, feeds: Iterable[str]) -> None:
        """Feeds that are another's now, or gone."""
        for feed in feeds:
            self._versions.pop(feed, None)
            self._sizes.pop(feed, None)

    async def _load(self) -> None:
        for script in (self._feed_script, self._signals_script):
            await self._client.script_load(script.script)
        self._loaded = True

    def _add_signals(self, pipeline: Any, change: SignalsChange) -> None:
        mode = "remove" if not change.fields else "whole" if change.whole else "change"
        arguments: list[Any] = [
            self._token_of(shard_of(change.post_id)),
            mode,
            change.expires_at_ms,
        ]
        for name, value in change.fields.items():
            arguments += (name, value)
        key = f"{self._prefix}signals:{change.post_id}"
        pipeline.evalsha(self._signals_script.sha, 1, key, *arguments)

    def _add_feed(self, pipeline: Any, change: FeedChange, now_ms: int, fresh: bool) -> None:
        name = f"{self._prefix}feed:{{{change.feed}}}"
        known = self._versions.get(change.feed)
        arguments: list[Any] = [
            self._token_of(shard_of(change.feed)),
            "whole" if change.whole else "change",
            -1 if known is None else known,
            self._sizes.get(change.feed, 0),
            now_ms,
            known or 0,
            len(change.removed),
            *change.removed,
            len(change.entries),
        ]
        for post_id, score in change.entries:
            arguments += (repr(score), post_id)
        arguments += self._info(change, now_ms, fresh)
        pipeline.evalsha(self._feed_script.sha, 2, name, name + ":info", *arguments)

    @staticmethod
    def _info(change: FeedChange, now_ms: int, fresh: bool) -> list[Any]:
        info: list[Any] = ["size", change.size, "config_offset", change.config_offset]
        if change.whole:
            # A new weighting, and a new owner, write whole: these change at no other time.
            info += ["weights", _encode(change.weights.as_dict()), "gates", _encode(change.gates)]
        if fresh:
            info += ["fresh_until_ms", now_ms + FRESH_MS]
        return info

    def _raise_errors(self, answers: Sequence[Any]) -> None:
        for answer in answers:
            if isinstance(answer, Exception):
                # The scripts of a Redis that was restarted are gone: load them again.
                self._loaded = False
                raise answer

    @staticmethod
    def _read_signals(
        signals: Sequence[SignalsChange], answers: Sequence[Any], outcome: WriteResult
    ) -> None:
        for change, status in zip(signals, answers, strict=False):
            if status == NOT_THERE:
                outcome.missing_posts.append(change.post_id)
            elif status == OUTDATED:
                outcome.outdated += 1

    def _read_feeds(
        self,
        feeds: Sequence[FeedChange],
        answers: Sequence[Any],
        now_ms: int,
        outcome: WriteResult,
    ) -> None:
        for change, (status, version) in zip(feeds, answers, strict=True):
            if status == WRITTEN:
                self._versions[change.feed] = int(version)
                self._sizes[change.feed] = change.size
                outcome.written.append(change.feed)
                if not change.is_renewal:
                    told = (int(version), change.config_offset, now_ms)
                    self._announcements[change.feed] = told
            elif status == NOT_THERE:
                outcome.missing_feeds.append(change.feed)
                self._versions.pop(change.feed, None)
            else:
                outcome.outdated += 1
