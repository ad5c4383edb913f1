"""What is sent to Redis: the names of keys, the scripts, and many commands in one round trip.

redis-py's pipeline takes some 20 microseconds a command for packing alone, more than all else
that a write costs here, and answers nothing when the connection breaks halfway.  This one packs
by itself and keeps the answers that came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

Argument = str | bytes | int
Command = Sequence[Argument]
# A writer's client gives up after seconds.
WRITER_OPTIONS: Final = {"socket_timeout": 5, "socket_connect_timeout": 2, "protocol": 2}


class CommandPipeline:
    """One connection to Redis, made again by the next call after it broke.

    Used by one thread; a call blocks for as long as the client's timeouts allow.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._broken: redis.RedisError | None = None

    def execute(self, commands: Sequence[Command], waves: Iterable[int] = ()) -> list[Any]:
        """Send all commands and return their answers, shape (commands,).

        An answer is what Redis replied, a `redis.ResponseError` that concerns this command
        alone, or, for all commands that were not answered, one `redis.ConnectionError` or
        `redis.TimeoutError`: whether Redis executed those is unknown.  Raises nothing.  One server
        executes them in their order, so that `waves` say nothing more to it.
        """
        self.send(commands)
        return self.receive(len(commands))

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands; `receive` tells what became of them."""
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            self._connection.send_packed_command([_pack(commands)], check_health=False)
            self._broken = None
        except (redis.RedisError, OSError) as error:
            self._broken = self._break(error)

    def receive(self, count: int) -> list[Any]:
        """Return the answers to so many commands, all that were sent, as `execute` does."""
        answers: list[Any] = []
        try:
            while self._broken is None and len(answers) < count:
                answers.append(self._read())
        except (redis.RedisError, OSError) as error:
            self._broken = self._break(error)
        return answers + [self._broken] * (count - len(answers))

    def place_of(self, key: str) -> str:
        """Return the server that has a key, one of those that `places` returned last."""
        return ""

    def places(self) -> set[str]:
        """Return the servers that have keys: one."""
        return {""}

    def close(self) -> None:
        """Disconnect; the next call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def _break(self, error: Exception) -> redis.RedisError:
        self.close()
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            return error
        return redis.ConnectionError(str(error))

    def _read(self) -> Any:
        """The next answer."""
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error


def is_broken(answer: object) -> bool:
    """Whether this answer says that the connection broke, or never was."""
    return isinstance(answer, redis.ConnectionError | redis.TimeoutError)


def _pack(commands: Sequence[Command]) -> bytes:
    """The commands as Redis reads them (RESP)."""
    # One list after the other for all arguments: a loop over them takes a third longer.
    arguments = [
        one.encode() if isinstance(one, str) else one if isinstance(one, bytes) else b"%d" % one
        for command in commands
        for one in command
    ]
    heads = [b"$%d" % len(one) for one in arguments]
    start = 0
    for command in commands:
        heads[start] = b"*%d\r\n%b" % (len(command), heads[start])
        start += len(command)
    lines = [b""] * (2 * len(arguments) + 1)
    lines[:-1:2], lines[1::2] = heads, arguments
    return b"\r\n".join(lines)


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
