"""A Faust app over `posts` that writes `signals.<name>`, a signal of a program of its own."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import faust
import numpy as np
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import maybe_async
from yarl import URL

from feedmill.events.decode import decode_post, encode
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.instance import Instance
from feedmill.events.limits import MAX_NAME_CHARACTERS
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal, check_signal, has_unit_range
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.kafka.batch_headers import is_bounded
from feedmill.streams.kafka.client import MAX_INFLATED_BYTES, check_connection
from feedmill.streams.security import tls_context
from feedmill.streams.settings.clock import HEARTBEAT_S, now_ms
from feedmill.streams.worker.heap import resident_mib

log = logging.getLogger(__name__)

POSTS = "posts"
_ERROR_CHARACTERS = 500
_LOOK_S = 1.0
_TRY_AGAIN_S = 5.0

ScorePost = Callable[[Post], float | Awaitable[float]]
# Faust lists the offsets of gaps without records up to this length.
_LISTED_OFFSETS = 100_000
_LOOK_EVERY_S = 0.05
# A partition whose records wait in the client is left out of the next fetch, and its newer records
# wait as long as that fetch lasts; Faust's own 1500 ms would delay a signal by as much.
_FETCH_WAIT_MS = 50
# In a batch of version 2: where its length stands, where the length begins, its header's size.
_LENGTH_AT, _BEFORE_LENGTH, _HEADER_BYTES = 8, 12, 61


@dataclass(frozen=True)
class Answers:
    """What one model says about posts, as values of records of `signals.<name>`.

    Attributes
    ----------
    name, in_unit_range
        The signal, and whether its values are probabilities.
    model, version
        What stands in each signal beside its value.
    score
        The function of the user.
    """

    name: str
    in_unit_range: bool
    model: str
    version: str
    score: ScorePost

    async def answer(
        self, key: bytes | None, value: bytes | None, offset: int, at_ms: int
    ) -> bytes | None:
        """Return the value of the signal's record; None, which removes the signal, for a deletion.

        An exception of `score`, or a value that the contract forbids, becomes a signal with
        `error`.

        Raises `BadEvent`: the record is not a post.
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
            check_signal(signal(value), self.name, in_unit_range=self.in_unit_range)
        except Exception as error:  # noqa: BLE001 - the error becomes part of the signal
            return signal(None, f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS])
        return signal(float(np.float32(value)))


def check_partition(key: bytes | None, partition: int, partitions: int) -> None:
    """Check that a record is in the partition of its key.

    Raises `BadEvent`: it is not.  A signal about it in the same partition would be a bad record
    too.
    """
    expected = partition_of(key or b"", partitions)
    if expected != partition:
        raise BadEvent(f"Expected partition {expected} for this key, got {partition}")


class AppHeartbeats:
    """What the app says about itself on `instances`, as stages do.

    Writes a heartbeat every five seconds, within a second of a new setting, and at the end.

    The app follows no settings, so it says of each record of `config` that it has applied it:
    `feedmill config set` need not wait for it.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._environment = app.environment
        self._key = f"{app.signal_name}/{self._environment.instance}".encode()
        self._topic = self._environment.topic("instances")
        self._config = TP(self._environment.topic("config"), 0)
        self._config_offset = -1
        self._looks = 0
        app.timer(_LOOK_S)(self._look)
        app.on_before_shutdown.connect(self._leave)

    async def _look(self) -> None:
        """Read `config`, and write a heartbeat if one is due."""
        before = self._config_offset
        try:
            ends = await self._app.consumer.highwaters(self._config)
            self._config_offset = ends[self._config] - 1
        except Exception as error:  # noqa: BLE001 - it looks again a second later
            log.debug("cannot look at config: %r", error)
        if self._looks % round(HEARTBEAT_S / _LOOK_S) == 0 or self._config_offset > before:
            await self._write(encode(self._instance(await self._lag())))
        self._looks += 1

    async def _lag(self) -> int:
        """Return how many records of `posts` are not read or not acknowledged."""
        consumer = self._app.consumer
        unread = 0
        for partition in consumer.assignment():
            position = await consumer.position(partition)
            unread += max(0, (consumer.highwater(partition) or 0) - (position or 0))
        return unread + len(consumer.unacked)

    async def _leave(self, *_: Any, **__: Any) -> None:
        """Write that this instance has stopped."""
        await self._write(None)

    async def _write(self, value: bytes | None) -> None:
        try:
            await self._app.producer.send(self._topic, self._key, value, 0, None, None)
        except Exception as error:  # noqa: BLE001 - a heartbeat more or less; the next one follows
            log.warning("no heartbeat: %r", error)

    def _instance(self, lag: int) -> Instance:
        app = self._app
        return Instance(
            stage=app.signal_name,
            instance=self._environment.instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            build=importlib.metadata.version("feedmill"),
            config_offset=self._config_offset,
            refused=(),
            models={app.signal_name: app.model_version},
            ready=not app.rebalancing,
            lag=lag,
            at_ms=now_ms(),
            reason="the group shares out partitions" if app.rebalancing else "",
            memory_mib=resident_mib(),
        )


class SignalApp(faust.App):
    """A Faust app that writes one signal; see `signal_app`."""

    def __init__(
        self, name: str, model: str, version: str, environment: Environment, **settings: Any
    ) -> None:
        self.signal_name = name
        self.model = model
        self.model_version = version
        self.environment = environment
        self._signals_topic = environment.topic(f"signals.{name}")
        self._partitions = 0
        # A task without a reference may be collected before it is done.
        self._unacknowledged: set[asyncio.Task[None]] = set()
        static = environment.instance if environment.instance_is_given else None
        super().__init__(
            environment.group(f"signals.{name}"),
            **{
                "broker": [URL(f"kafka://{server}") for server in environment.kafka.split(",")],
                "broker_credentials": broker_credentials(environment.security),
                "broker_client_id": environment.instance or "feedmill",
                "broker_session_timeout": environment.session_timeout_ms / 1000,
                "broker_heartbeat_interval": environment.session_timeout_ms / 5000,
                "consumer_group_instance_id": static,
                "producer_max_request_size": 1024 * 1024,
                "topic_allow_declare": False,
                "topic_disable_leader": True,
                # `worker --with-web`, the default of the command, serves a page without a login.
                "web_bind": "127.0.0.1",
                "web_enabled": False,
                "worker_redirect_stdouts": False,
                **settings,
            },
        )
        self._heartbeats = AppHeartbeats(self)

    async def on_first_start(self) -> None:
        """Wait until Kafka takes this process: Faust would end, with a traceback."""
        topics = POSTS, f"signals.{self.signal_name}"
        while trouble := await asyncio.to_thread(check_connection, self.environment, topics):
            log.error("%s", trouble)
            await self.sleep(_TRY_AGAIN_S)
        await super().on_first_start()

    def answer(self, score: ScorePost) -> ScorePost:
        """Have `score` answer every post: a decorator, for one function of the app.

        `score` is called on the app's event loop, once for each version of a post and again
        for what a crash left uncommitted.  It returns the value: for a gate the probability in
        [0, 1] that the post violates, for a cost a probability too, for an objective any finite
        number, higher is better.  It may be a coroutine function.  An exception becomes a signal
        with `error`.
        """
        in_unit_range = has_unit_range(self.signal_name, self.environment.signals)
        answers = Answers(self.signal_name, in_unit_range, self.model, self.model_version, score)
        posts = self.topic(
            self.environment.topic(POSTS),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )

        async def answer_posts(stream: Any) -> None:
            # Faust would acknowledge a post with the next one, whether its signal was sent or not.
            unacknowledged = stream.noack()
            async for event in unacknowledged.events():
                await self._answer(answers, unacknowledged, event)

        self.agent(posts, name=f"{self.signal_name}.answer")(answer_posts)
        return score

    async def _answer(self, answers: Answers, stream: Any, event: Any) -> None:
        message = event.message
        key, partition = message.key, message.partition
        try:
            check_partition(key, partition, await self._partition_count())
            value = await answers.answer(key, message.value, message.offset, now_ms())
        except BadEvent as error:
            # The worker writes its dead letter.
            log.debug("skipped posts[%d] offset %d: %s", partition, message.offset, error)
            await stream.ack(event)
            return
        producer = self.producer
        written = await producer.send(self._signals_topic, key, value, partition, None, None)
        task = asyncio.ensure_future(self._acknowledge(written, stream, event))
        self._unacknowledged.add(task)
        task.add_done_callback(self._unacknowledged.discard)

    async def _acknowledge(self, written: Any, stream: Any, event: Any) -> None:
        """Acknowledge a post once the broker has its signal; end the app if it is refused."""
        try:
            await written
        except Exception as error:  # noqa: BLE001 - whatever it is, the post is not answered
            log.error("cannot write to %s: %r", self._signals_topic, error)
            await self.crash(error)
        else:
            await stream.ack(event)

    async def _partition_count(self) -> int:
        """Return the number of partitions of `posts`, which `signals.<name>` must have too.

        Raises `UsageError`: it has another number.
        """
        if not self._partitions:
            client = self.producer._producer
            posts = len(await client.partitions_for(self.environment.topic(POSTS)))
            signals = len(await client.partitions_for(self._signals_topic))
            if posts != signals:
                raise UsageError(
                    f"`{self._signals_topic}` has {signals} partitions and `posts` {posts}; create"
                    " it with `feedmill topics create` while FEEDMILL_SIGNALS declares it"
                )
            self._partitions = posts
        return self._partitions

    def _create_directories(self) -> None:
        """Make Faust's folder for tables only where tables are kept in files."""
        if self.conf.store.scheme != "memory":
            super()._create_directories()

    def _new_transport(self) -> SignalTransport:
        return SignalTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> SignalTransport:
        return SignalTransport(self.conf.broker_producer, self)


def signal_app(
    name: str,
    *,
    model: str,
    version: str,
    environment: Environment | None = None,
    **settings: Any,
) -> SignalApp:
    """Return a Faust app whose function answers every post on `signals.<name>`.

        app = signal_app("novelty", model="word-pairs", version="1")

        @app.answer
        def novelty(post: Post) -> float:
            return 0.5

        if __name__ == "__main__":
            app.main()

    The app reads committed records of `posts`, in a consumer group of its own, `signals.<name>`.
    It sets `post_offset`, `at_ms` and `error` and writes to the partition that the post came
    from, under its key.  A deletion removes the signal.  A record that is not a post is skipped:
    the worker writes its dead letter.  Heartbeats on `instances` say that the signal is alive;
    without them, feeds that need it would grow stale.

    Faust gives at-least-once: a post is committed after its signal is written, and after a
    crash or a rebalance some posts are answered again.  The combiner keeps one signal for each
    version of a post, so a repeated answer does no harm if the function gives the same value
    again.  State that the function keeps in memory is lost at the end of the process.

    Parameters
    ----------
    name
        The signal, which FEEDMILL_SIGNALS declares for this process and for every worker.
    model, version
        What stands in each signal; give another version when the function changes.
    environment
        Kafka's address, credentials and prefix; by default of the variables FEEDMILL_….
    settings
        Further settings of `faust.App`.

    Raises `UsageError`: the signal is not declared, model or version is too long, or a variable is
    wrong.
    """
    environment = read_environment() if environment is None else environment
    if name not in environment.signals.all:
        raise UsageError(
            f"the signal `{name}` is not declared; declare it to this process and to every worker:"
            f" FEEDMILL_SIGNALS={name}:objective, or {name}:gate"
        )
    if (longest := max(len(model), len(version))) > MAX_NAME_CHARACTERS:
        raise UsageError(
            f"the signal `{name}`: expected a model and a version of at most {MAX_NAME_CHARACTERS}"
            f" characters, got {longest}; the combiner would refuse its signals: give shorter ones"
        )
    return SignalApp(name, model, version, environment, **settings)


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only, which Faust does only when it writes transactions."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no settings for these; the consumer reads them when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        # There is no setting, so this holds for all aiokafka consumers of this process.
        fetcher.MemoryRecords = BoundedRecords
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Note that there are no records between two offsets: a batch was passed there."""
        if offset_to - offset_from < _LISTED_OFFSETS:
            await super()._add_gap(tp, offset_from, offset_to)
            return
        while any(message.tp == tp for message in self._unacked_messages):
            await self.sleep(_LOOK_EVERY_S)
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        self._committed_offset[tp] = offset_to - 1


class _Producer(driver.Producer):
    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class SignalTransport(driver.Transport):
    """Consumes committed records, and produces so that a retry repeats and reorders nothing."""

    Consumer = _Consumer
    Producer = _Producer


def broker_credentials(security: Mapping[str, str]) -> Any:
    """TLS and SASL settings, of `CLIENT_SETTINGS`, as Faust's credentials; None without any."""
    protocol = security.get("security_protocol", "PLAINTEXT")
    context = tls_context(security) if protocol.endswith("SSL") else None
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=security.get("sasl_plain_username"),
            password=security.get("sasl_plain_password"),
            mechanism=security.get("sasl_mechanism", "PLAIN"),
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


class BoundedRecords:
    """The batches of an answer, as aiokafka's `MemoryRecords` hands them out.

    aiokafka inflates a batch whole, whatever it holds.  Each is inflated here first, up to a bound:
    a batch beyond it is passed, and has no records.
    """

    def __init__(self, answer: bytes) -> None:
        self._batches: Any = MemoryRecords(answer)
        self._answer = memoryview(answer)
        self._at = 0

    def has_next(self) -> bool:
        return bool(self._batches.has_next())

    def size_in_bytes(self) -> int:
        return len(self._answer)

    def next_batch(self) -> Any:
        """Return the next batch; without records if it inflates beyond the bound."""
        batch = self._batches.next_batch()
        start, length_at = self._at, self._at + _LENGTH_AT
        length = int.from_bytes(self._answer[length_at : length_at + 4], "big")
        self._at = start + _BEFORE_LENGTH + length
        payload = self._answer[start + _HEADER_BYTES : self._at]
        if is_bounded(batch.compression_type, payload):
            return batch
        log.warning(
            "passed a batch that inflates beyond %d MiB, offsets %d to %d",
            MAX_INFLATED_BYTES // 1024 // 1024,
            batch.base_offset,
            batch.next_offset - 1,
        )
        return _PassedBatch(batch)


class _PassedBatch:
    """A batch that was passed: only its header counts."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(())
