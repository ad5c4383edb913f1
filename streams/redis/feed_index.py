"""The index of the feeds that exist in Redis: all of them, perhaps some that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from feedmill.streams.redis import scripts
from feedmill.streams.redis.command_pipeline import Argument, Command
from feedmill.streams.redis.keys import Keys


class FeedIndex:
    """What one writer has put on the index, by feed the token that it bears there.

    A feed is put on it before it is written, and taken off after it was removed, so that the
    index is a superset at any moment: its slot is not that of the feeds, one script cannot do it.

    Attributes
    ----------
    own
        By feed the token of those that this writer has put there.
    is_short
        Whether Redis has fewer than these: somebody else removed the index, or a part of it.
    is_long
        Whether Redis has more than these: a former owner that was paused put a feed there.
    """

    def __init__(self, keys: Keys) -> None:
        self.own: dict[str, int] = {}
        self.is_short = self.is_long = False
        self._key = keys.feed_index

    def missing(self, tokens: Mapping[str, int]) -> dict[str, int]:
        """Which of these feeds must be put on the index before they are written."""
        return {feed: token for feed, token in tokens.items() if self.own.get(feed) != token}

    def add_command(self, tokens: Mapping[str, int]) -> Command:
        """Put feeds on the index; a token there is never lowered."""
        return ["ZADD", self._key, "GT", *_pairs(tokens)]

    def added(self, tokens: Mapping[str, int]) -> None:
        """These feeds are on it now."""
        self.own.update(tokens)
        self.is_short = False

    def remove_command(self, tokens: Mapping[str, int]) -> Command:
        """Take feeds that were removed off it, unless a newer owner has put them there again."""
        return scripts.FORGET_FEEDS.call([self._key], _pairs(tokens))

    def removed(self, feeds: Iterable[str]) -> None:
        """These feeds are not on it any more."""
        for feed in feeds:
            self.own.pop(feed, None)

    def forget_all(self) -> None:
        """Redis was flushed and each feed will be written again, or another owns all feeds."""
        self.own.clear()

    def list_command(self) -> Command:
        """All names on it."""
        return ["ZRANGE", self._key, 0, -1]

    def size_command(self) -> Command:
        """How many names are on it, for `counted`."""
        return ["ZCARD", self._key]

    def counted(self, answer: Any) -> None:
        """Redis has so many."""
        own = len(self.own)
        self.is_short = isinstance(answer, int) and answer < own
        self.is_long = isinstance(answer, int) and answer > own > 0


def _pairs(tokens: Mapping[str, int]) -> list[Argument]:
    arguments: list[Argument] = []
    for feed, token in tokens.items():
        arguments += (token, feed)
    return arguments
