"""What serves the simulated audience a feed: each user the list of their arm, with an exposure."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
import redis

from feedmill.events.experiment import Exposure
from feedmill.experiments.assignment import arm_of
from feedmill.streams.redis.reader import FeedReader


class Page(NamedTuple):
    """The top of a list; `exposure` is to be sent before it, without its time."""

    feed: str
    post_ids: tuple[str, ...]
    exposure: Exposure | None


class Frontend:
    """Reads one feed from Redis, as `examples/frontend.py` does."""

    def __init__(self, reader: FeedReader, feed: str) -> None:
        self._reader, self._feed = reader, feed

    def page(self, user_id: str, count: int) -> Page:
        """Return the first posts for a user; none while there is no feed, or no Redis."""
        try:
            return self._page(user_id, count)
        except redis.RedisError:
            return Page(self._feed, (), None)

    def _page(self, user_id: str, count: int) -> Page:
        shown = self._reader.feed(self._feed, count)
        if shown is None:
            return Page(self._feed, (), None)
        exposure = None
        running: dict[str, Any] | None = orjson.loads(shown.info.get("experiment", "null"))
        if running is not None:
            name, salt, traffic = running["name"], running["salt"], running["traffic"]
            arms = [(arm["name"], arm["share"]) for arm in running["arms"]]
            arm, control = arm_of(salt, name, user_id, traffic, arms), arms[0][0]
            if arm is not None:
                named = "" if arm == control else f"{name}.{arm}"
                of_arm = self._reader.feed(self._feed, count, named) if named else shown
                shown = of_arm or shown
                exposure = Exposure(
                    user_id=user_id,
                    experiment=name,
                    arm=arm,
                    feed=self._feed,
                    version=shown.version,
                    first=0,
                    count=count,
                    at_ms=0,
                    served=None if of_arm else control,
                )
        return Page(self._feed, tuple(post_id for post_id, _ in shown.ranking), exposure)
