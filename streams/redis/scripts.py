"""What is sent to Redis: the names of keys, and the calls of the Lua scripts in this folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from feedmill.rankers.combiner import FeedChange, SignalsChange

Argument = str | bytes | int
Command = Sequence[Argument]
_encode_fields = msgspec.msgpack.Encoder().encode
# A map of fewer fields has a head of one byte in MessagePack, a longer one of three.
_LONG_MAP_FROM: Final = 16
# How long a tombstone keeps the token of what was removed.
TOMBSTONE_MS: Final = 24 * 3_600_000


@dataclass(frozen=True)
class Keys:
    """Every key begins with the prefix.  Keys that one script writes share a slot of a cluster."""

    prefix: str

    def feed(self, feed: str, arm: str = "") -> str:
        """The sorted set of a feed, or of its arm `<experiment>.<arm>`."""
        key = f"{self.prefix}feed:{{{feed}}}"
        return f"{key}:arm:{arm}" if arm else key

    def info(self, feed: str, arm: str = "") -> str:
        """What it was ranked by, and how fresh it is."""
        return f"{self.feed(feed, arm)}:info"

    def feed_copy(self, feed: str, arm: str = "") -> str:
        """Where a whole list is built before it takes the place of the old one."""
        return f"{self.feed(feed, arm)}:new"

    def feed_tombstone(self, feed: str) -> str:
        """The token, and the last version, of a feed that was removed."""
        return f"{self.prefix}tombstone:{{{feed}}}"

    def signals(self, post_id: str) -> str:
        """The hash of a post."""
        return f"{self.prefix}signals:{post_id}"

    def post_tombstone(self, post_id: str) -> str:
        """The token of a post that was deleted; the braces give it the slot of the hash."""
        return f"{self.prefix}tombstone:{{{self.prefix}signals:{post_id}}}"

    @property
    def feed_index(self) -> str:
        """The sorted set of all feeds that exist, in the order of their shards."""
        return f"{self.prefix}feeds"

    @property
    def feed_changes(self) -> str:
        """The channel of changed feeds."""
        return f"{self.prefix}feed-changes"

    def flush_marker(self, run: str) -> str:
        """The key whose loss shows one run of a writer that Redis was flushed."""
        return f"{self.prefix}flush-marker:{run}"


@dataclass(frozen=True)
class Script:
    """One script: its text, and the sha1 by which Redis finds it once it was loaded."""

    text: str
    sha1: str

    @classmethod
    def read(cls, name: str) -> Script:
        """Read the script from the file of this name beside this module."""
        text = (Path(__file__).parent / name).read_text("utf-8")
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    def call(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Command:
        """The command that runs it; Redis answers NOSCRIPT unless it was loaded before."""
        return ["EVALSHA", self.sha1, len(keys), *keys, *arguments]


WRITE_FEED: Final = Script.read("write_feed.lua")
REMOVE_FEED: Final = Script.read("remove_feed.lua")
FORGET_FEEDS: Final = Script.read("forget_feeds.lua")
WRITE_SIGNALS: Final = Script.read("write_signals.lua")


def load_commands() -> list[Command]:
    """The commands that make all scripts known to Redis, which forgets them at a restart."""
    scripts = (WRITE_FEED, REMOVE_FEED, FORGET_FEEDS, WRITE_SIGNALS)
    return [["SCRIPT", "LOAD", script.text] for script in scripts]


def signals_command(keys: Keys, change: SignalsChange, token: int) -> Command:
    """Return the script call that writes, or removes, what is true of a post."""
    key_names = [keys.signals(change.post_id), keys.post_tombstone(change.post_id)]
    if not change.fields:
        return WRITE_SIGNALS.call(key_names, [token, "remove", TOMBSTONE_MS])
    mode = "whole" if change.whole else "change"
    fields = _as_message_pack(change.fields)
    arguments: list[Argument] = [token, mode, change.expires_at_ms, change.post_offset, fields]
    return WRITE_SIGNALS.call(key_names, arguments)


def _as_message_pack(fields: Mapping[str, str]) -> bytes:
    """Return fields and values in one argument, which takes less time than many."""
    return _encode_fields(fields)[1 if len(fields) < _LONG_MAP_FROM else 3 :]


def feed_command(keys: Keys, change: FeedChange, arguments: Sequence[Argument]) -> Command:
    """Return the script call that changes a feed, with the lists of its arms."""
    feed, names = change.feed, list[str]()
    for arm in ("", *(arm.feed for arm in change.arms)):
        names += (keys.feed(feed, arm), keys.info(feed, arm), keys.feed_copy(feed, arm))
    return WRITE_FEED.call([*names, keys.feed_tombstone(feed)], arguments)


def removal_command(
    keys: Keys, feed: str, token: int, now_ms: int, ended: Sequence[str]
) -> Command:
    """Return the script call that removes a feed, with the lists of arms that ended in it."""
    names = [keys.feed(feed), keys.info(feed), keys.feed_tombstone(feed)]
    return REMOVE_FEED.call(names, [token, now_ms, TOMBSTONE_MS, *ended])
