"""Messages on `feed-changes`: which feed changed, at most ten a second a feed."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from feedmill.streams.redis.command_pipeline import Command
from feedmill.streams.redis.keys import Keys

ANNOUNCED_EVERY_S: Final = 0.1
# A round trip for each change costs as much as the change: those of so long share one.
GATHERED_S: Final = 0.05

_encode = msgspec.json.Encoder().encode


class FeedVersion(NamedTuple):
    """A version of a feed, the last `config` record in it, and when it was made."""

    version: int
    config_offset: int
    at_ms: int


class Announcements:
    """The newest change of each feed that was not published yet; times are seconds of a clock."""

    def __init__(self, keys: Keys) -> None:
        self._channel = keys.feed_changes
        self._waiting: dict[str, FeedVersion] = {}
        self._waiting_since_s: dict[str, float] = {}
        self._published_s: dict[str, float] = {}

    def add(self, feed: str, version: FeedVersion, now_s: float) -> None:
        """Publish this change when it is the feed's turn, unless a newer one comes before."""
        self._waiting[feed] = version
        self._waiting_since_s.setdefault(feed, now_s)

    def take_due(self, now_s: float) -> list[Command]:
        """The commands that publish what is due, for a round trip that is made anyhow."""
        if not self._waiting:
            return []
        due = [feed for feed in self._waiting if self._turn_s(feed) <= now_s]
        return [self._publish(feed, now_s) for feed in due]

    def next_s(self) -> float:
        """When `take_due` is worth a round trip of its own; infinity where nothing waits."""
        return min(map(self._alone_s, self._waiting), default=float("inf"))

    def _alone_s(self, feed: str) -> float:
        # By its own time: some other feed waits for its turn nearly always.
        return max(self._turn_s(feed), self._waiting_since_s[feed] + GATHERED_S)

    def _turn_s(self, feed: str) -> float:
        return self._published_s.get(feed, -1.0) + ANNOUNCED_EVERY_S

    def _publish(self, feed: str, now_s: float) -> Command:
        version = self._waiting.pop(feed)
        del self._waiting_since_s[feed]
        self._published_s[feed] = now_s
        return ["PUBLISH", self._channel, _encode({"feed": feed, **version._asdict()})]

    def forget_old(self, now_s: float) -> None:
        """Forget when feeds were published last where that does not matter any more."""
        if len(self._published_s) > 4096:
            self._published_s = {
                feed: at_s
                for feed, at_s in self._published_s.items()
                if at_s + ANNOUNCED_EVERY_S > now_s
            }
