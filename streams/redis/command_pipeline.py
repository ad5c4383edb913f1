"""Many commands in one round trip, each with its own answer.

redis-py's pipeline takes some 20 microseconds a command for packing alone, more than all else
that a write costs here, and answers nothing when the connection breaks halfway.  This one packs
by itself and keeps the answers that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from feedmill.events.errors import FeedmillError

Argument = str | bytes | int
Command = Sequence[Argument]
# The line before an argument of so many bytes.
_MOST_SIZES = 256
_SIZES = tuple(b"$%d" % size for size in range(_MOST_SIZES))


class CommandPipeline:
    """One connection to Redis, made again by the next call after it broke.

    Used by one thread; a call blocks for as long as the client's timeouts allow.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands and return their answers, shape (commands,).

        An answer is what Redis replied, a `redis.ResponseError` that concerns this command
        alone, or, for all commands that were not answered, one `redis.ConnectionError` or
        `redis.TimeoutError`: whether Redis executed those is unknown.  Raises nothing.
        """
        answers: list[Any] = []
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            self._connection.send_packed_command([_pack(commands)], check_health=False)
            while len(answers) < len(commands):
                answers.append(self._read())
        except (redis.RedisError, OSError) as error:
            self.close()
            broken = error if is_broken(error) else redis.ConnectionError(str(error))
            answers += [broken] * (len(commands) - len(answers))
        return answers

    def close(self) -> None:
        """Disconnect; the next call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def _read(self) -> Any:
        """The next answer."""
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error


def is_broken(answer: object) -> bool:
    """Whether this answer says that the connection broke, or never was."""
    return isinstance(answer, redis.ConnectionError | redis.TimeoutError)


def open_writer_client(url: str) -> redis.Redis:
    """A client that gives up after seconds and repeats nothing; nothing is sent yet."""
    try:
        return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2, protocol=2)
    except ValueError as error:
        raise FeedmillError(f"Redis: {error}") from None


def _pack(commands: Sequence[Command]) -> bytes:
    """The commands as Redis reads them (RESP)."""
    # One list after the other for all arguments: a loop over them takes a third longer.
    arguments = _encoded([one for command in commands for one in command])
    heads = [_SIZES[n] if n < _MOST_SIZES else b"$%d" % n for n in map(len, arguments)]
    start = 0
    for command in commands:
        heads[start] = b"*%d\r\n%b" % (len(command), heads[start])
        start += len(command)
    lines = [b""] * (2 * len(arguments) + 1)
    lines[:-1:2], lines[1::2] = heads, arguments
    return b"\r\n".join(lines)


def _encoded(arguments: Sequence[Argument]) -> list[bytes]:
    """The bytes of each argument."""
    try:
        return [
            one.encode() if isinstance(one, str) else one if isinstance(one, bytes) else b"%d" % one
            for one in arguments
        ]
    except UnicodeEncodeError:
        # Half of a pair in an id: to allow for it takes twice the time.
        return [
            one.encode("utf-8", "surrogatepass")
            if isinstance(one, str)
            else one
            if isinstance(one, bytes)
            else b"%d" % one
            for one in arguments
        ]
