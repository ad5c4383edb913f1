"""The queue between agents and the worker: everything that is ready, and not too much."""

from __future__ import annotations

import asyncio

import pytest

from builders.records import StoredRecord, record_batch
from feedmill.streams.kafka.batches import RecordBatch
from feedmill.streams.kafka.inbox import Inbox


def batch(partition: int, size: int) -> RecordBatch:
    return record_batch("posts", map(StoredRecord, range(size)), partition=partition)


def test_take_brings_all_that_is_ready_in_order() -> None:
    async def run() -> None:
        inbox = Inbox(100)
        for partition in range(3):
            await inbox.put(batch(partition, 5))
        assert [one.source.partition for one in await inbox.take()] == [0, 1, 2]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inbox.take(), 0.01)

    asyncio.run(run())


def test_take_waits_for_the_first_batch() -> None:
    async def run() -> None:
        inbox = Inbox(100)
        taking = asyncio.ensure_future(inbox.take())
        await asyncio.sleep(0)
        assert not taking.done()
        await inbox.put(batch(7, 1))
        assert [one.source.partition for one in await taking] == [7]

    asyncio.run(run())


def test_a_taker_that_was_cancelled_loses_nothing() -> None:
    async def run() -> None:
        inbox = Inbox(100)
        taking = asyncio.ensure_future(inbox.take())
        await asyncio.sleep(0)
        await inbox.put(batch(1, 1))
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        assert [one.source.partition for one in await inbox.take()] == [1]

    asyncio.run(run())


def test_a_full_inbox_makes_all_agents_wait_and_lets_them_on_one_batch_at_a_time() -> None:
    async def run() -> None:
        inbox, most = Inbox(10), 0
        putting = [asyncio.ensure_future(inbox.put(batch(i, 6))) for i in range(9)]
        seen: list[int] = []
        while len(seen) < 9:
            await asyncio.sleep(0.001)
            taken = await asyncio.wait_for(inbox.take(), 1)
            most = max(most, sum(len(one.records) for one in taken))
            seen += [one.source.partition for one in taken]
        await asyncio.gather(*putting)
        assert sorted(seen) == list(range(9))
        assert most <= 10 + 6 - 1, "one batch may go over the bound, no second one"

    asyncio.run(run())


def test_a_batch_larger_than_the_bound_passes() -> None:
    async def run() -> None:
        inbox = Inbox(10)
        await asyncio.wait_for(inbox.put(batch(0, 50)), 1)
        assert len(await inbox.take()) == 1

    asyncio.run(run())
