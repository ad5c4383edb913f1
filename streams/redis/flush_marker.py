"""Notices that Redis was flushed, restarted empty, or lost its last writes in a failover."""

from __future__ import annotations

import secrets
from typing import Any, Final

import redis

from feedmill.streams.redis.command_pipeline import Command
from feedmill.streams.redis.keys import Keys

CHECK_EVERY_S: Final = 0.4
# A marker outlives the process that kept it by so long.
MARKER_KEPT_S: Final = 3600


class FlushMarker:
    """A key of one run of a writer, whose value counts the writer's round trips.

    A missing key means a flush; a value below the last that was acknowledged, that another
    server went on without the last writes.  Each round trip bears one such check.
    """

    def __init__(self, keys: Keys) -> None:
        self._key = keys.flush_marker(secrets.token_hex(6))
        self._sent = 0
        self._acknowledged = -1  # not there yet

    def command(self) -> Command:
        """The check; it never makes the key after the first time, or a flush would go unseen."""
        self._sent += 1
        expiry = ("EX", MARKER_KEPT_S)
        if self._acknowledged < 0:
            return ["SET", self._key, self._sent, *expiry]
        return ["SET", self._key, self._sent, "XX", "GET", *expiry]

    def shows_flush(self, answer: Any) -> bool:
        """Read the answer to the last `command`: whether what was written may be gone."""
        if isinstance(answer, redis.RedisError):
            return False
        before, self._acknowledged = self._acknowledged, self._sent
        if before < 0:
            return False
        if answer is None:
            self._acknowledged = -1
            return True
        return int(answer) < before
