"""Sends the events of a source when they are due, and counts what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from feedmill.events.decode import encode
from feedmill.events.engagement import Engagement
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Exposure
from feedmill.events.post import Post
from feedmill.simulation.replay.options import Counts
from feedmill.simulation.schedule import EventSource, OutgoingRecord, ScheduledEvent
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import ClientHealth, new_producer, no_kafka

_POST_FIELDS = tuple(n for n in Post.__struct_fields__ if n not in ("created_at_ms", "deleted"))
_ENGAGEMENT_FIELDS = tuple(n for n in Engagement.__struct_fields__ if n != "at_ms")
_EXPOSURE_FIELDS = tuple(n for n in Exposure.__struct_fields__ if n != "at_ms")

_START_S = 15.0
_TRY_S = 0.5
# Errors after which no further try helps.
_FINAL = (
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
)
# As many records wait for the broker at most; then `send` takes no more.
_QUEUE_RECORDS = 20_000
# How long a record may wait for a broker that is away.
_DELIVERY_MS = 60_000
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


def with_send_time(
    event: Post | Engagement | Exposure | OutgoingRecord, now_ms: int | None
) -> OutgoingRecord:
    """The record of an event, with `now_ms` as a post's `created_at_ms`, else as `at_ms`.

    If `now_ms` is None, the event keeps its own time. Fields that are None are left out.
    """
    if isinstance(event, OutgoingRecord):
        return event
    if isinstance(event, Post):
        at_ms = event.created_at_ms if now_ms is None else now_ms
        value: dict[str, object] = {"created_at_ms": at_ms}
        names = _POST_FIELDS
    else:
        value = {"at_ms": event.at_ms if now_ms is None else now_ms}
        names = _EXPOSURE_FIELDS if isinstance(event, Exposure) else _ENGAGEMENT_FIELDS
    for name in names:
        field = getattr(event, name)
        if field is not None:
            value[name] = field
    key = event.user_id if isinstance(event, Exposure) else event.post_id
    return OutgoingRecord(key.encode(), encode(value))


def start_producer(
    environment: Environment, topics: Iterable[str]
) -> tuple[Producer, frozenset[str]]:
    """Connect, check that these topics exist, and return the producer and all topics there are.

    Raises `UsageError`: the broker does not answer or refuses, or one of the topics does not exist.
    """
    producer = new_producer(
        environment, errors := _Errors(), queue_records=_QUEUE_RECORDS, timeout_ms=_DELIVERY_MS
    )
    found = _topics(environment, producer, errors)
    missing = [name for name in map(environment.topic, topics) if name not in found]
    if missing:
        raise UsageError(
            f"Kafka at {environment.kafka} has no topic {', '.join(missing)}; create the topics "
            "with `feedmill topics create`, or give the right --prefix"
        )
    return producer, found


class _Errors(ClientHealth):
    """What the client complains of; a replay counts failures instead of logging them."""

    def __init__(self) -> None:
        super().__init__()
        self.final: KafkaError | None = None

    def report(self, error: KafkaError | str) -> None:
        if not isinstance(error, str) and error.code() in _FINAL:
            self.final = error


def _topics(environment: Environment, producer: Producer, errors: _Errors) -> frozenset[str]:
    end = time.monotonic() + _START_S
    while True:
        try:
            return frozenset(producer.list_topics(timeout=_TRY_S).topics)
        except KafkaException:
            # Why it failed, a call back alone says.
            producer.poll(0)
        if errors.final is None and time.monotonic() < end:
            continue
        refused = errors.final is not None and errors.final.code() != KafkaError._ALL_BROKERS_DOWN
        reason = errors.final.str() if errors.final is not None and refused else "cannot connect"
        raise no_kafka(environment.kafka, reason)


@dataclass
class Sender:
    """Hands each event to the producer when it is due.

    Parameters
    ----------
    producer, topics
        Takes the records, of which the outcomes come in calls of its `poll`; and the full names of
        the topics that there are.
    topic
        Makes the full name of a topic from its name.
    counts
        Is updated for every event.
    stop
        When it is set, the run ends before the next event.
    keep_times
        Whether events keep their own times.
    """

    producer: Producer
    topics: frozenset[str]
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
        self.producer.poll(0)
        await asyncio.sleep(0)
        # Waiting for `stop` with a timeout takes three times the CPU of a short sleep.
        while (wait := due - clock()) > 0 and not self.stop.is_set():
            await asyncio.sleep(min(wait, _MAX_SLEEP_S))
            self.producer.poll(0)

    async def _send(self, scheduled: ScheduledEvent) -> None:
        now_ms = None if self.keep_times else time.time_ns() // 1_000_000
        record = with_send_time(scheduled.event, now_ms)
        topic = self.topic(scheduled.topic)
        self._count(scheduled)
        if topic not in self.topics:
            # The client would look for the topic for a minute, for every record.
            reason = "no such topic; create it with `feedmill topics create`"
            self._count_failure(scheduled.topic, reason)
            return
        outcome = partial(self._count_outcome, scheduled.topic)
        try:
            while True:
                try:
                    self.producer.produce(topic, record.value, record.key, on_delivery=outcome)
                    return
                except BufferError:
                    # The broker is down or slow; the record was not accepted.
                    await asyncio.sleep(_FULL_SLEEP_S)
                    self.producer.poll(0)
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

    def _count_outcome(self, topic: str, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._count_failure(topic, error.str())
        else:
            self.counts.acknowledged += 1

    def _count_failure(self, topic: str, reason: str) -> None:
        self.counts.failed += 1
        self.counts.add_complaint(f"{topic}: not sent: {reason}")
