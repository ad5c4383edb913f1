"""Sends a source's events at its pace through one idempotent producer, and keeps count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from feedmill.events.engagement import Engagement
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.simulation.replay.options import Counts
from feedmill.simulation.replay.record_times import with_send_time
from feedmill.simulation.schedule import EventSource, ScheduledEvent

# `send` by default waits for nothing as long as a partition's batch has room, so the event loop
# gets its turn at least every so many events.
_TURN = 64
# It wakes at most so often; what fell due meanwhile leaves together, which costs half the CPU.
# Events are stamped as they leave, so nobody downstream sees a delay.
_TICK_S = 0.005
_LONGEST_SLEEP_S = 0.2
# A replay that cannot keep its pace goes on later instead of faster: no burst after a stall.
_CATCH_UP_S = 1.0


class Send(Protocol):
    """Returns once the record has its place in a batch, with its future outcome."""

    def __call__(
        self, topic: str, *, key: bytes, value: bytes | None
    ) -> Awaitable[asyncio.Future[object]]: ...


@dataclass
class Sender:
    """Paces events into `send`.

    Parameters
    ----------
    send
        May wait while the broker is behind; may raise `KafkaTimeoutError` if it stays so.
    topic
        From a topic's name to its full name.
    topics
        The full names that the broker has.
    stop
        Ends the run before the next event.
    """

    send: Send
    topic: Callable[[str], str]
    topics: Set[str]
    counts: Counts
    stop: asyncio.Event
    keep_times: bool = False

    async def run(self, source: EventSource, speed: float, for_s: float) -> str:
        """Send everything; says what ended it: "end", "time", "stopped" or "failed"."""
        clock = asyncio.get_running_loop().time
        start = clock()
        deadline = start + for_s if for_s else float("inf")
        since_turn, woke = 0, start
        for timed in source.events:
            due = clock() + _TICK_S if timed is None else start + timed.due_s / speed
            since_turn += 1
            if due > (now := clock()) or since_turn >= _TURN:
                since_turn = 0
                wake = max(due, woke + _TICK_S) if due > now else now
                await self._sleep_until(min(wake, deadline))
                woke = clock()
            if self.stop.is_set():
                return "stopped"
            if clock() >= deadline:
                return "time"
            if timed is None:
                continue
            start += max(0.0, clock() - due - _CATCH_UP_S)
            try:
                await self._send(timed)
            except KafkaError as error:
                self._lost(timed.topic, error)
                return "failed"
        return "end"

    async def _sleep_until(self, due: float) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(0)
        # Waiting for `stop` with a timeout costs three times what a short sleep does.
        while (wait := due - clock()) > 0 and not self.stop.is_set():  # noqa: ASYNC110 - two ends
            await asyncio.sleep(min(wait, _LONGEST_SLEEP_S))

    async def _send(self, timed: ScheduledEvent) -> None:
        now_ms = None if self.keep_times else time.time_ns() // 1_000_000
        record = with_send_time(timed.event, now_ms)
        topic = self.topic(timed.topic)
        self._count(timed)
        if topic not in self.topics:
            # The client would look for it for 40 seconds, for every record.
            self._lost(timed.topic, UsageError("no such topic; `feedmill topics create` makes it"))
            return
        while True:
            try:
                future = await self.send(topic, key=record.key, value=record.value)
            except KafkaTimeoutError:
                # The broker is away or behind and the batch full: nothing was taken, so ask again.
                continue
            except MessageSizeTooLargeError as error:
                self._lost(timed.topic, error)
                return
            break
        future.add_done_callback(partial(self._done, timed.topic))

    def _count(self, timed: ScheduledEvent) -> None:
        event = timed.event
        if isinstance(event, Post):
            self.counts.posts += 1
        elif isinstance(event, Engagement):
            self.counts.engagements += 1
            self.counts.kinds[event.kind] = self.counts.kinds.get(event.kind, 0) + 1
        else:
            self.counts.others += 1

    def _done(self, topic: str, future: asyncio.Future[object]) -> None:
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            self._lost(topic, error)
        else:
            self.counts.acknowledged += 1

    def _lost(self, topic: str, error: BaseException) -> None:
        self.counts.failed += 1
        reason = str(error) or type(error).__name__
        self.counts.complain(f"{topic}: not sent: {reason}")
