"""Which feeds this combiner writes, and under which token."""

from __future__ import annotations

from collections.abc import Iterable

import redis.asyncio

from feedmill.events.partition import SHARDS, shard_of
from feedmill.streams.kafka.transport import BatchApp

SHARD_TOPIC = "feed-shards"


class Ownership:
    """The shards that the group `combiner` assigned to this instance."""

    def __init__(self, app: BatchApp, client: redis.asyncio.Redis, prefix: str) -> None:
        self._app = app
        self._client = client
        self._prefix = prefix
        self._shards: frozenset[int] = frozenset()
        self._epoch = 0
        self.token = 0

    @property
    def has_changed(self) -> bool:
        """Whether there was an assignment that was not taken over yet."""
        return self._app.epoch != self._epoch

    async def take(self, feeds: Iterable[str], now_ms: int) -> None:
        """Take the assigned shards over, with a token above all that `feeds` bear in Redis."""
        epoch = self._app.epoch
        pipeline = self._client.pipeline(transaction=False)
        for feed in feeds:
            pipeline.hget(f"{self._prefix}feed:{{{feed}}}:info", "owner")
        stored = [int(token) for token in await pipeline.execute() if token]
        self.token = max(now_ms, *(token + 1 for token in stored), self.token)
        self._shards = frozenset(source.partition for source in self._app.ledger.done)
        self._epoch = epoch

    def owns(self, name: str) -> bool:
        """Whether this instance writes the feed, or the signals of the post, of this name."""
        return len(self._shards) == SHARDS or shard_of(name) in self._shards

    def token_of(self, _shard: int) -> int:
        """The token of a shard: one for all of an instance, above every earlier owner's."""
        return self.token
