"""The queue: order, and that what waited too long is shed."""

import asyncio
import time
from functools import partial

import pytest

from feedmill.readers.web import MOST_WAIT_S, RequestQueue


def test_requests_are_answered_in_their_order_and_errors_are_theirs() -> None:
    async def run() -> None:
        queue, waited, asked = RequestQueue(), list[float](), list[int]()

        def answer(number: int) -> bytes:
            asked.append(number)
            if number == 2:
                raise ValueError(number)
            return b"%d" % number

        waiting = [asyncio.ensure_future(queue.answer(partial(answer, n))) for n in range(4)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
        await queue.serve_until(time.monotonic() + 0.02, waited.append)
        assert (asked, len(waited)) == ([0, 2, 3], 3)
        assert [await waiting[0], await waiting[3]] == [b"0", b"3"]
        with pytest.raises(ValueError, match="2"):
            await waiting[2]

    asyncio.run(run())


def test_what_waited_too_long_is_not_answered() -> None:
    async def run() -> None:
        queue, asked = RequestQueue(), list[int]()
        late = asyncio.ensure_future(queue.answer(lambda: b"late"))
        await asyncio.sleep(1.5 * MOST_WAIT_S)
        new = asyncio.ensure_future(queue.answer(lambda: b"new"))
        await asyncio.sleep(0)
        await queue.serve_until(time.monotonic() + 0.02, lambda _: asked.append(1))
        assert (await late, await new, asked) == (None, b"new", [1])

    asyncio.run(run())


def test_a_queue_is_full_when_a_request_would_wait_too_long() -> None:
    async def run() -> None:
        queue = RequestQueue()
        waiting = [asyncio.ensure_future(queue.answer(lambda: b"")) for _ in range(60)]
        await asyncio.sleep(0)
        assert queue.is_full
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())
