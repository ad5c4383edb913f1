"""Requests that wait for the reader's thread: what waits too long is answered with 503."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

MOST_WAIT_S = 0.050
# The mean time of an answer follows the last answers by this part.
_NEW_PART = 0.05


class Waiting(NamedTuple):
    """A request in the queue: since when, how it is answered, and who waits for that."""

    since_s: float
    answer: Callable[[], bytes]
    answered: asyncio.Future[bytes | None]


class RequestQueue:
    """Hands requests out in their order; a request that waited for 50 ms is not answered any more.

    A request that would wait so long is refused when it comes, so that the requests before it are
    answered instead of it being read.
    """

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._mean_s = 0.001
        self._has_some = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether a request that comes now would wait too long."""
        return len(self._waiting) * self._mean_s > MOST_WAIT_S

    async def answer(self, answer: Callable[[], bytes]) -> bytes | None:
        """Have `answer` called when it is the request's turn; None if that took too long.

        Raises what `answer` raises.
        """
        answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(time.monotonic(), answer, answered))
        self._has_some.set()
        return await answered

    async def serve_until(self, end_s: float, waited: Callable[[float], None]) -> None:
        """Answer requests until a time of the monotonic clock, telling how long each waited."""
        while (left_s := end_s - time.monotonic()) > 0:
            waited_s = self._serve_next()
            if waited_s is None:
                await self._wait(left_s)
            else:
                waited(waited_s)
                # The next request may be among what came meanwhile.
                await asyncio.sleep(0)

    async def _wait(self, most_s: float) -> None:
        """Wait until there is a request, or for so long."""
        self._has_some.clear()
        if not self._waiting:
            try:
                await asyncio.wait_for(self._has_some.wait(), most_s)
            except TimeoutError:
                return

    def _serve_next(self) -> float | None:
        """Answer the next request, and shed those before it that waited too long.

        Returns how long the request waited, None if there was none.
        """
        while self._waiting:
            one = self._waiting.popleft()
            start, spent_s = time.monotonic(), time.thread_time()
            if one.answered.done():  # the client is gone
                continue
            if start - one.since_s > MOST_WAIT_S:
                one.answered.set_result(None)
                continue
            try:
                one.answered.set_result(one.answer())
            except Exception as error:  # noqa: BLE001 - the request's handler raises it
                one.answered.set_exception(error)
            # By the clock a busy machine would seem to take no requests that come together.
            self._mean_s += _NEW_PART * (time.thread_time() - spent_s - self._mean_s)
            return start - one.since_s
        return None
