"""A transport for Faust whose event is a record batch, not a record.

Faust keeps group membership, rebalancing and supervision; its per-message path,
which costs some 70 µs, runs once a batch.  Offsets are ours (`Ledger`): Faust's
gap bookkeeping assumes that one message is one offset.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast

import aiokafka
import faust
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
)
from faust.serializers.schemas import Schema
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode.utils.futures import maybe_async
from yarl import URL

from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.clients import (
    FETCH_WAIT_IDLE_MS,
    MAX_FETCH_BYTES,
    adapt_fetch_wait,
    kafka_settings,
)
from feedmill.streams.kafka.ledger import Ledger
from feedmill.streams.kafka.pace import Pace
from feedmill.streams.settings.environment import Environment

log = logging.getLogger(__name__)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Owns the aiokafka consumer, with our settings and no silent reset.

    A thread by name only: it runs on the app's own loop.  Handing every fetch over between
    two loops costs as much again as the fetch; stages work in batches of some milliseconds,
    so that heartbeats keep time without a thread of their own.
    """

    async def start(self) -> None:
        """Start on this loop."""
        self._thread_started.set()
        await self._default_start()

    async def stop(self) -> None:
        """Stop, and leave the group."""
        if self._started.is_set() and not self._stopped.is_set():
            self._stopped.set()
            await self._shutdown_thread()

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kw: Any) -> Any:
        """Call at once what Faust would queue for the other thread."""
        return await maybe_async(fun(*args, **kw))

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        app = cast(BatchApp, self.app)
        environment = app.environment
        # Range gives a member the same partitions of every topic: what engagement needs.
        return aiokafka.AIOKafkaConsumer(
            client_id=environment.instance,
            group_id=app.conf.id,
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_poll_records=environment.batch_records,
            max_poll_interval_ms=300_000,
            max_partition_fetch_bytes=MAX_FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_IDLE_MS,
            session_timeout_ms=environment.session_timeout_ms,
            heartbeat_interval_ms=environment.session_timeout_ms // 5,
            rebalance_timeout_ms=30_000,
            metadata_max_age_ms=60_000,
            **kafka_settings(environment),
        )

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> Any:
        try:
            found = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
            adapt_fetch_wait(consumer, busy=bool(found))
            return found
        except NoOffsetForPartitionError as error:
            # The group never committed here.  An offset out of range is another error, and ends
            # the stage: records are missing, and going on would hide it.
            await self._seek_to_start(consumer, [error.args[0]])
            return {}

    async def _seek_to_start(self, consumer: aiokafka.AIOKafkaConsumer, partitions: Any) -> None:
        starts = await consumer.beginning_offsets(partitions)
        for partition, offset in starts.items():
            if partition in consumer.assignment():
                consumer.seek(partition, offset)

    async def take_up(self) -> Mapping[TP, tuple[int, str | None]]:
        """Seek every assigned partition to its committed offset, or to its first record.

        Those offsets, and what was committed beside each; None where nothing was.
        """
        found: Mapping[TP, tuple[int, str | None]] = await self.call_thread(self._take_up)
        return found

    async def _take_up(self) -> dict[TP, tuple[int, str | None]]:
        consumer = self._ensure_consumer()
        assigned = list(consumer.assignment())
        # `consumer.committed` asks for one partition at a time, and leaves the metadata out.
        committed = await consumer._coordinator.fetch_committed_offsets(assigned)
        found: dict[TP, tuple[int, str | None]] = {
            TP(p.topic, p.partition): (one.offset, one.metadata or "")
            for p, one in committed.items()
        }
        fresh = [p for p in assigned if p not in committed]
        if fresh:
            starts = await consumer.beginning_offsets(fresh)
            found.update({TP(p.topic, p.partition): (start, None) for p, start in starts.items()})
        for partition, (offset, _) in found.items():
            consumer.seek(partition, offset)
        return found


class BatchConsumer(driver.Consumer):
    """Delivers one message per fetched partition; its value is the `RecordBatch`."""

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's
        """Fetch, and yield what came of each partition as one message."""
        app = cast(BatchApp, self.app)
        if (pause_s := app.pace.pause_s()) > 0:
            await asyncio.sleep(pause_s)
        records, active = await self._wait_next_records(timeout)
        generation = app.consumer_generation_id
        if not records or self.should_stop or not self.flow_active:
            return
        for tp, batch in records.items():
            if not self.flow_active or app.consumer_generation_id != generation:
                break
            if active is None or tp in active or tp in self._buffered_partitions:
                yield tp, self._batch_message(tp, batch, app)

    def _batch_message(self, tp: TP, records: Any, app: BatchApp) -> ConsumerMessage:
        last = records[-1]
        source = TopicPartition(app.environment.named(tp.topic), tp.partition)
        batch = RecordBatch(source, records, app.epoch)
        app.ledger.begin(batch)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            (),
            None,
            batch,
            None,
            None,
            None,
            tp,
            generation_id=app.consumer_generation_id,
        )

    def ack(self, message: Any) -> bool:
        """Only mark the message: what may be committed is in the ledger."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Compaction and batches leave gaps; the ledger does not mind."""

    async def perform_seek(self) -> None:
        """On assignment: start every partition where its finished work ends."""
        app = cast(BatchApp, self.app)
        found = await cast(BatchConsumerThread, self._thread).take_up()
        app.on_seek(found)
        for tp, (offset, _) in found.items():
            self._read_offset[tp] = offset

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what the ledger has; Faust calls it on its timer, on revocation and on stop."""
        app = cast(BatchApp, self.app)
        offsets = {
            aiokafka.TopicPartition(app.environment.topic(source.topic), source.partition): (
                end,
                app.ledger.notes.get(source) or "",
            )
            for source, end in app.ledger.take().items()
        }
        if not offsets:
            return False
        thread = cast(BatchConsumerThread, self._thread)
        try:
            consumer = thread._ensure_consumer()
            held = consumer.assignment()
            kept = {tp: end for tp, end in offsets.items() if tp in held}
            if kept:
                await thread.call_thread(consumer.commit, kept)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("offsets not committed, the partitions are being reassigned: %s", error)
            return False
        except KafkaError as error:
            log.warning("offsets not committed, trying again with the next batch: %r", error)
            return False
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's livelock detector counts per-message acks; `Stage` has its own watchdog."""


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with `BatchConsumer`."""

    Consumer = BatchConsumer


class BatchSchema(Schema):
    """Hands the batch through undecoded."""

    def compile(self, app: Any, **_: Any) -> Any:
        """A decoder that wraps the batch into an event."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, None, message)

        return decode


class BatchApp(faust.App):
    """A Faust app over record batches.

    Attributes
    ----------
    ledger
        Finished work; a stage calls `ledger.finish(batch)`, commits follow by themselves.
    pace
        A stage notes how long its cycles take; fetching waits accordingly.
    epoch
        Grows with every assignment; see `RecordBatch`.
    assigned
        Set from the first assignment on; `ledger.done` has the partitions.
    """

    def __init__(self, environment: Environment, stage: str, **settings: Any) -> None:
        self.environment = environment
        self.ledger = Ledger()
        self.epoch = 0
        self.pace = Pace()
        self.assigned = asyncio.Event()
        super().__init__(
            environment.group(stage),
            broker=f"kafka://{environment.kafka.split(',', maxsplit=1)[0]}",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            stream_buffer_maxsize=4,
            broker_commit_interval=1.0,
            broker_session_timeout=environment.session_timeout_ms / 1000,
            broker_request_timeout=60.0,
            broker_max_poll_interval=300.0,
            producer_acks=-1,
            store="memory://",
            worker_redirect_stdouts=False,
            **settings,
        )

    def _create_directories(self) -> None:
        """Faust keeps tables in a folder beside the user's files; there are none here."""

    def _new_transport(self) -> Any:
        return BatchTransport([URL(url) for url in self.conf.broker_consumer], self)

    def batches(self, *topics: str) -> Any:
        """A Faust topic over these topics (without the prefix), of `RecordBatch`es."""
        names = [self.environment.topic(name) for name in topics]
        return self.topic(*names, schema=BatchSchema())

    async def watch(self) -> None:
        """Raise what broke a part of Faust; its stage would go on outside of the group."""
        await self._crashed.wait()
        raise self.crash_reason or RuntimeError("a part of Faust broke")

    def on_seek(self, found: Mapping[TP, tuple[int, str | None]]) -> None:
        """Take over the partitions that a rebalance brought, from these offsets on."""
        named = self.environment.named
        sources = {tp: TopicPartition(named(tp.topic), tp.partition) for tp in found}
        self.ledger.restart(
            {sources[tp]: offset for tp, (offset, _) in found.items()},
            {sources[tp]: note for tp, (_, note) in found.items()},
        )
        self.epoch += 1
        self.assigned.set()
