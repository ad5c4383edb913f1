"""From a record of `posts` to the record of `signals.<name>` that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from mode.utils.futures import maybe_async

from feedmill.events.decode import decode_post, encode
from feedmill.events.errors import BadEvent
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal, check_signal

ScorePost = Callable[[Post], float | Awaitable[float]]

_ERROR_CHARACTERS = 500


@dataclass(frozen=True)
class Answers:
    """What one model says about posts, as values of records of `signals.<name>`.

    Attributes
    ----------
    name, is_gate
        The signal, and whether its values are probabilities.
    model, version
        What stands in each signal beside its value.
    score
        The function of the user.
    """

    name: str
    is_gate: bool
    model: str
    version: str
    score: ScorePost

    async def answer(
        self, key: bytes | None, value: bytes | None, offset: int, at_ms: int
    ) -> bytes | None:
        """Return the value of the signal's record; None, which removes the signal, for a deletion.

        An exception of `score`, or a value that the contract forbids, becomes a signal with
        `error`.

        Raises
        ------
        BadEvent
            The record is not a post.
        """
        event = decode_post(key, value)
        if isinstance(event, Deletion):
            return None
        return encode(await self._signal(event, offset, at_ms))

    async def _signal(self, post: Post, offset: int, at_ms: int) -> Signal:
        def signal(value: float | None, error: str | None = None) -> Signal:
            return Signal(post.post_id, offset, value, self.model, self.version, at_ms, error)

        try:
            value = float(await maybe_async(self.score(post)))
            check_signal(signal(value), self.name, in_unit_range=self.is_gate)
        except Exception as error:  # noqa: BLE001 - the error becomes part of the signal
            return signal(None, f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS])
        return signal(float(np.float32(value)))


def check_partition(key: bytes | None, partition: int, partitions: int) -> None:
    """Check that a record is in the partition of its key.

    Raises
    ------
    BadEvent
        It is not.  A signal about it in the same partition would be a bad record too.
    """
    expected = partition_of(key or b"", partitions)
    if expected != partition:
        raise BadEvent(f"Expected partition {expected} for this key, got {partition}")
