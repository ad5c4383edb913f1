"""Between a Faust agent and a stage's work: take everything that is ready, in one go."""

from __future__ import annotations

import asyncio

from feedmill.streams.kafka.batches import RecordBatch


class Inbox:
    """A queue of batches, bounded by records; agents `put`, the one worker `take`s."""

    def __init__(self, most_records: int) -> None:
        self._most = most_records
        self._batches: list[RecordBatch] = []
        self._records = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def put(self, batch: RecordBatch) -> None:
        """Add a batch; waits while there is more than the worker can take at once."""
        while self._records >= self._most:
            self._emptied.clear()
            await self._emptied.wait()
        self._batches.append(batch)
        self._records += len(batch.records)
        self._filled.set()

    async def take(self) -> list[RecordBatch]:
        """All that is ready, at least one."""
        await self._filled.wait()
        taken, self._batches = self._batches, []
        self._records = 0
        self._filled.clear()
        self._emptied.set()
        return taken
