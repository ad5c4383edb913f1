"""The Lua scripts that write to Redis, each known to Redis by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedmill.streams.redis.command_pipeline import Argument, Command


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
