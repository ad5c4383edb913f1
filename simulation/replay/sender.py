"""Sends the events of a source when they are due, and counts what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException

from feedmill.events.engagement import Engagement
from feedmill.events.post import Post
from feedmill.simulation.replay.options import Counts
from feedmill.simulation.replay.producer import ReplayProducer
from feedmill.simulation.replay.record_times import with_send_time
from feedmill.simulation.schedule import EventSource, ScheduledEvent

# `send` does not wait as long as there is room, so the event loop runs at least every so many
# events.
_EVENTS_PER_TURN = 64
# Events that are due within one tick are sent together, which halves the CPU time. They get the
# time of sending, so no reader sees the delay.
_TICK_S = 0.005
_MAX_SLEEP_S = 0.2
# How long to wait where the broker does not keep up.
_FULL_SLEEP_S = 0.01
# A replay that falls behind by more shifts its start instead of sending a burst.
_CATCH_UP_S = 1.0


@dataclass
class Sender:
    """Hands each event to the producer when it is due.

    Parameters
    ----------
    producer
        Takes the records.
    topic
        Makes the full name of a topic from its name.
    counts
        Is updated for every event.
    stop
        When it is set, the run ends before the next event.
    keep_times
        Whether events keep their own times.
    """

    producer: ReplayProducer
    topic: Callable[[str], str]
    counts: Counts
    stop: asyncio.Event
    keep_times: bool = False

    async def run(self, source: EventSource, speed: float, duration_s: float) -> str:
        """Send all events; returns why it ended: "end", "time", "stopped" or "failed".

        `speed` divides the due times; `duration_s` is a limit, 0 for none.
        """
        clock = asyncio.get_running_loop().time
        start = clock()
        deadline = start + duration_s if duration_s else float("inf")
        since_turn, woke = 0, start
        for scheduled in source.events:
            due = clock() + _TICK_S if scheduled is None else start + scheduled.due_s / speed
            since_turn += 1
            if due > (now := clock()) or since_turn >= _EVENTS_PER_TURN:
                since_turn = 0
                wake = max(due, woke + _TICK_S) if due > now else now
                await self._sleep_until(min(wake, deadline))
                woke = clock()
            if self.stop.is_set():
                return "stopped"
            if clock() >= deadline:
                return "time"
            if scheduled is None:
                continue
            start += max(0.0, clock() - due - _CATCH_UP_S)
            try:
                await self._send(scheduled)
            except KafkaException as error:
                self._count_failure(scheduled.topic, error.args[0].str())
                return "failed"
        return "end"

    async def _sleep_until(self, due: float) -> None:
        clock = asyncio.get_running_loop().time
        self.producer.poll()
        await asyncio.sleep(0)
        # Waiting for `stop` with a timeout takes three times the CPU of a short sleep.
        while (wait := due - clock()) > 0 and not self.stop.is_set():
            await asyncio.sleep(min(wait, _MAX_SLEEP_S))
            self.producer.poll()

    async def _send(self, scheduled: ScheduledEvent) -> None:
        now_ms = None if self.keep_times else time.time_ns() // 1_000_000
        record = with_send_time(scheduled.event, now_ms)
        topic = self.topic(scheduled.topic)
        self._count(scheduled)
        if topic not in self.producer.topics:
            # The client would look for the topic for a minute, for every record.
            reason = "no such topic; create it with `feedmill topics create`"
            self._count_failure(scheduled.topic, reason)
            return
        outcome = partial(self._count_outcome, scheduled.topic)
        try:
            while not self.producer.send(topic, record.key, record.value, outcome):
                # The broker is down or slow; the record was not accepted.
                await asyncio.sleep(_FULL_SLEEP_S)
                self.producer.poll()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            self._count_failure(scheduled.topic, error.args[0].str())

    def _count(self, scheduled: ScheduledEvent) -> None:
        event = scheduled.event
        if isinstance(event, Post):
            self.counts.posts += 1
        elif isinstance(event, Engagement):
            self.counts.engagements += 1
            self.counts.kinds[event.kind] = self.counts.kinds.get(event.kind, 0) + 1
        else:
            self.counts.others += 1

    def _count_outcome(self, topic: str, failure: str | None) -> None:
        if failure is not None:
            self._count_failure(topic, failure)
        else:
            self.counts.acknowledged += 1

    def _count_failure(self, topic: str, reason: str) -> None:
        self.counts.failed += 1
        self.counts.add_complaint(f"{topic}: not sent: {reason}")
