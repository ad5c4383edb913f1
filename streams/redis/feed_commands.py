"""The commands that write feeds: one script call each, on the keys of one slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import orjson

from feedmill.rankers.combiner import FeedChange
from feedmill.streams.redis import scripts
from feedmill.streams.redis.command_pipeline import Argument, Command
from feedmill.streams.redis.keys import TOMBSTONE_MS, Keys

FRESH_MS: Final = 15_000

_encode = msgspec.json.Encoder().encode


class _Known(NamedTuple):
    version: int
    size: int


class FeedCommands:
    """Writes feeds, and knows which version and size of each Redis holds.

    A change that is not whole is refused unless Redis holds that very version and size: another
    writer, a flush, or a write whose outcome is unknown came between.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[str, _Known] = {}
        self._last_version: dict[str, int] = {}  # also of what a flush took

    def write(self, change: FeedChange, token: int, now_ms: int, *, fresh: bool) -> Command:
        """Write a change of a feed."""
        mode = "whole" if change.whole else "change"
        arguments = self._arguments(mode, change, token, now_ms)
        arguments += _scores_and_members(change.entries)
        arguments += ("size", change.size, "config_offset", change.config_offset)
        if change.whole:
            weights, gates = _encode(change.weights.as_dict()), _encode(change.gates)
            arguments += ("weights", weights, "gates", gates)
        if fresh:
            arguments += ("fresh_until_ms", now_ms + FRESH_MS)
        return self._call(change.feed, arguments)

    def remove_members(self, change: FeedChange, token: int, now_ms: int) -> Command:
        """Only take the removed members of a change out, whatever version Redis holds."""
        arguments = self._arguments("shrink", change, token, now_ms)
        arguments[-1] = 0  # no entries
        return self._call(change.feed, arguments)

    def remove(self, feed: str, token: int, now_ms: int) -> Command:
        """Remove a feed that is no more."""
        keys = self._keys
        key_names = [keys.feed(feed), keys.info(feed), keys.feed_tombstone(feed)]
        return scripts.REMOVE_FEED.call(key_names, [token, now_ms, TOMBSTONE_MS])

    def written(self, change: FeedChange, version: int) -> None:
        """Redis holds this change now."""
        self._known[change.feed] = _Known(version, change.size)
        self._last_version[change.feed] = version

    def forget(self, feed: str) -> None:
        """What Redis holds of this feed is not known any more."""
        self._known.pop(feed, None)

    def removed(self, feed: str) -> None:
        """The feed is no more; its tombstone has its version."""
        self._known.pop(feed, None)
        self._last_version.pop(feed, None)

    def forget_all(self) -> None:
        """What Redis holds of any feed is not known any more."""
        self._known.clear()

    def _arguments(self, mode: str, change: FeedChange, token: int, now_ms: int) -> list[Argument]:
        known = self._known.get(change.feed, _Known(-1, -1))
        return [
            token,
            mode,
            known.version,
            known.size,
            len(change.entries) if change.whole else change.size,
            now_ms,
            self._last_version.get(change.feed, 0),
            len(change.removed),
            *change.removed,
            len(change.entries),
        ]

    def _call(self, feed: str, arguments: list[Argument]) -> Command:
        keys = self._keys
        key_names = [
            keys.feed(feed),
            keys.info(feed),
            keys.feed_tombstone(feed),
            keys.feed_copy(feed),
        ]
        return scripts.WRITE_FEED.call(key_names, arguments)


def _scores_and_members(entries: Sequence[tuple[str, float]]) -> list[Argument]:
    """Score, member, score, member, …; each score in the fewest digits that give it back."""
    if not entries:
        return []
    arguments: list[Argument] = [""] * (2 * len(entries))
    arguments[1::2], scores = zip(*entries, strict=True)
    arguments[::2] = orjson.dumps(scores)[1:-1].split(b",")
    return arguments
