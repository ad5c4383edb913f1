"""Transactions that never end are told from open ones.

A broker that was killed may leave one: Kafka 4.3 loses markers of a transaction that it ends before
it listens again.
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# Kafka aborts a dead worker's transaction after five seconds, and looks for them every ten.
HANGS_AFTER_S = 20.0
# An answer that is older says nothing about the present one: the broker may have been away.
ASKED_AGAIN_WITHIN_S = 15.0

# What to do about one.
WAY_OUT = (
    "its writer ends it, a worker by its next commit, or Kafka after the writer's"
    " transaction.timeout.ms; one that Kafka forgot is ended by `feedmill topics abort-hanging`"
)


class HeldBack(Generic[T]):
    """For how long transactions have held something back, by what the broker answered."""

    def __init__(self) -> None:
        # When the first and the last of the answers in a row came.
        self._since: dict[T, tuple[float, float]] = {}

    def note(self, what: T) -> bool:
        """Note that the broker answered so; return whether that transaction never ends."""
        now = time.monotonic()
        first, last = self._since.get(what, (now, now))
        first = first if now - last < ASKED_AGAIN_WITHIN_S else now
        self._since[what] = first, now
        return now - first >= HANGS_AFTER_S

    def forget(self, what: T) -> None:
        """It is held back no more, or nothing is known of it."""
        self._since.pop(what, None)

    def unasked(self, seconds: float) -> list[T]:
        """Return what the broker said so of, and nothing since so many seconds."""
        before = time.monotonic() - seconds
        return [what for what, (_, last) in self._since.items() if last <= before]
