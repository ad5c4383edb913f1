"""What Redis shows: feeds and posts."""

from __future__ import annotations

from feedmill.console.routes import Console, NotFound
from feedmill.streams.redis.reader import FeedReader, PostSnapshot, open_feed_reader


class Shown:
    """One client of Redis for all pages.  Any thread may call it; raises `redis.RedisError`."""

    def __init__(self, console: Console) -> None:
        environment = console.environment
        self.reader: FeedReader = open_feed_reader(environment.redis, environment.redis_prefix)

    def post(self, post_id: str) -> PostSnapshot:
        """Return what is true of a post; raises `NotFound` where Redis knows nothing of it."""
        found = self.reader.post(post_id)
        if not found.known:
            raise NotFound("post", post_id)
        return found

    def close(self) -> None:
        """Disconnect."""
        self.reader.client.close()
