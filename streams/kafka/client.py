"""Makes all clients of librdkafka: addresses, security, memory and timeouts in one place."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment, memory_shares
from feedmill.streams.security import tls_trouble, way_out

log = logging.getLogger(__name__)

Setting = str | int | float | bool
# The largest answer of a broker, and librdkafka's bound for an inflated batch of zstd.  It tries
# buffers of three times the size each time, so that a third of the bound is always enough.
MAX_INFLATED_BYTES = 8 * 1024 * 1024
# How often a consumer checks whether its fetched records were taken.
GATHER_MS = 2
# While values of so many KiB wait to be taken, a consumer asks for nothing more.
WAITING_KIB = 1024
# How long a broker holds a fetch for which it has no records.  Commands hold it shorter: only then
# does a partition that ends with the marker of a transaction count as read to its end.
FETCH_WAIT_MS = 200
COMMAND_FETCH_WAIT_MS = 20
# The largest record is a dead letter: a cut record with its headers.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# Below the limit of a topic, since a broker applies the limit to whole batches.
MAX_BATCH_BYTES = 512 * 1024
TRANSACTION_TIMEOUT_MS = 5_000
_DELIVERY_MS = 10_000
MAX_POLL_INTERVAL_MS = 30_000
# An error that is not repeated within this time counts as over.
_ERROR_HOLDS_S = 5.0
_SAY_EVERY_S = 10.0
# How often a client reports which brokers it knows; after so many reports of none it is lost.
_STATISTICS_MS = 5_000
_MOST_WITHOUT = 2
# How statistics mark a broker with an address; a coordinator without one does not count.
_SOURCES = '"source":"learned"', '"source":"configured"'
# How Kafka refuses what a user has no right to.
REFUSALS = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
_WHY_S = 5.0
NO_CONNECTION = "cannot connect"
_NO_CONNECTION = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)

_SECURITY = {
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
}


class ClientHealth:
    """The last error of the clients of this process; any thread may report or ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trouble = ""
        self._at = -_ERROR_HOLDS_S
        self._logged_at = -_SAY_EVERY_S
        self._refused_at = -math.inf
        # Until the group's operations are asked for, and say otherwise.
        self.group_is_refused = False

    def report(self, error: KafkaError | str) -> None:
        """Note an error, and log one at most every ten seconds."""
        now = time.monotonic()
        with self._lock:
            self._trouble, self._at = str(error), now
            if isinstance(error, KafkaError) and error.code() in REFUSALS:
                self._refused_at = now
                self.group_is_refused |= error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            if now - self._logged_at < _SAY_EVERY_S:
                return
            self._logged_at = now
        log.warning("Kafka: %s", error)

    def reason(self) -> str:
        """Return the error of the last seconds, as a reason not to be ready; "" without one."""
        with self._lock:
            recent = time.monotonic() - self._at < _ERROR_HOLDS_S
            if not recent:
                return ""
            out = way_out(self._trouble, "KAFKA")
            return f"Kafka: {self._trouble}" + f"; {out}" * bool(out)

    @property
    def refused_at(self) -> float:
        """When Kafka refused something for a lack of rights last, monotonic seconds."""
        return self._refused_at


@contextmanager
def kafka_errors(environment: Environment) -> Iterator[None]:
    """Turn errors of the client into a `UsageError` that says what to do."""
    try:
        yield
    except KafkaException as error:
        complaint: KafkaError = error.args[0]
        is_away = complaint.code() in _NO_CONNECTION
        reason = why_no_connection(environment) if is_away else complaint.str()
        raise no_kafka(environment.kafka, reason) from error


def check_connection(environment: Environment, topics: Sequence[str]) -> str:
    """Say why Kafka does not take this process, or which of the topics it hides; "" where neither.

    Topics are named without the prefix.  Waits some seconds.
    """
    client = AdminClient({**client_settings(environment, ClientHealth()), "log_level": 0})
    try:
        with kafka_errors(environment):
            for name in map(environment.topic, topics):
                found = client.list_topics(name, timeout=_WHY_S).topics[name].error
                if found is not None and found.code() in REFUSALS:
                    return refusal(environment, "Describe", f"topic `{name}`")
    except UsageError as error:
        return str(error)
    return ""


def no_kafka(address: str, reason: str) -> UsageError:
    """Return the error of a command that cannot use Kafka, with the way out."""
    start = (
        "start it (`feedmill local up` starts a local one), or correct --kafka, FEEDMILL_KAFKA or"
    )
    out = way_out(reason, "KAFKA") or f"{start} the credentials"
    return UsageError(f"Kafka at {address}: {reason}; {out}")


def refusal(environment: Environment, operation: str, resource: str) -> str:
    """Say which right this process lacks in Kafka, and the way out."""
    user = f"the user {environment.user}" if environment.user else "a user without a name"
    return (
        f"Kafka at {environment.kafka}: {user} may not {operation} the {resource}; `feedmill acls"
        " print` says what each role needs, and grants it"
    )


class KnownBrokers:
    """Notices, by a client's statistics, that the client knows no broker any more.

    A cluster whose brokers are all fenced names none in its metadata, as for a moment after the
    only broker stood still for longer than its session.  librdkafka 2.10 to 2.16 then forgets all
    brokers and may never find one again (its issue 5301).  A broker that is away is still known.
    """

    def __init__(self) -> None:
        self.are_lost = False
        self._without = 0

    def note(self, statistics: str) -> None:
        """Take the statistics of the client; its callback."""
        # To parse the JSON would take long: it has an entry for each partition.
        is_known = any(source in statistics for source in _SOURCES)
        self._without = 0 if is_known else self._without + 1
        self.are_lost = self._without >= _MOST_WITHOUT


class _Watched:
    """A client that can tell whether it must be replaced, see `KnownBrokers`."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self.brokers = KnownBrokers()
        told = {"statistics.interval.ms": _STATISTICS_MS, "stats_cb": self.brokers.note}
        super().__init__({**settings, **told})  # type: ignore[call-arg]  # The package has no types.


class WatchedConsumer(_Watched, Consumer):  # type: ignore[misc]  # The package has no types.
    """A consumer that can tell whether it must be replaced."""


class WatchedProducer(_Watched, Producer):  # type: ignore[misc]  # The package has no types.
    """A producer that can tell whether it must be replaced."""


def discard(consumer: Consumer) -> None:
    """Close a consumer on a thread of its own: without a broker that may take for ever."""
    threading.Thread(target=consumer.close, name="closing a consumer", daemon=True).start()


def client_settings(environment: Environment, health: ClientHealth) -> dict[str, object]:
    """Address, security and error reporting, as librdkafka spells them."""
    security = {_SECURITY[name]: value for name, value in environment.security.items()}
    return {
        "bootstrap.servers": environment.kafka,
        "client.id": environment.instance or "feedmill",
        "error_cb": health.report,
        # Critical only: in an outage it logs hundreds of lines a second; `health` reports it.
        "log_level": 2,
        # Back to a broker within a second of its return, without a storm of connections.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "socket.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "topic.metadata.propagation.max.ms": 1_000,
        **security,
    }


def why_no_connection(environment: Environment) -> str:
    """Return why no client gets through to Kafka; waits some seconds.

    kafka-python says only that it cannot connect, also where the server refuses who signs in.
    """
    address, _, port = environment.kafka.split(",")[0].strip().rpartition(":")
    host = address.strip("[]")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return NO_CONNECTION
    if trouble := tls_trouble(host, int(port), environment.security):
        return trouble
    said: list[KafkaError] = []
    settings = {**client_settings(environment, ClientHealth()), "error_cb": said.append}
    client, end = AdminClient({**settings, "log_level": 0}), time.monotonic() + _WHY_S
    while not said and time.monotonic() < end:
        client.poll(0.1)
    told = (error.str() for error in said if error.code() != KafkaError._ALL_BROKERS_DOWN)
    text = next(told, "").partition("/bootstrap: ")[2] or NO_CONNECTION
    return text.partition(" (after ")[0].rstrip(".")


def _consumer_settings(waiting: int, fetch_bytes: int) -> dict[str, Setting]:
    """Settings of a consumer that fetches no more while `waiting` records wait to be taken.

    librdkafka bounds its queue by records and the bytes of their values, not of keys and headers,
    and only before a fetch.  A full queue costs 2 to 3 ms, a fetch 0.3, so some fetches may wait.
    """
    return {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # An offset that is gone stops the partition; it never resets by itself.
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "queued.min.messages": waiting,
        "queued.max.messages.kbytes": WAITING_KIB,
        "fetch.max.bytes": fetch_bytes,
        "fetch.message.max.bytes": fetch_bytes,
        # librdkafka requires it to be no larger than a fetch; it limits nothing that is read.
        "message.max.bytes": fetch_bytes,
        "receive.message.max.bytes": MAX_INFLATED_BYTES,
        # The default would hold the partition of a full queue back for a second.
        "fetch.queue.backoff.ms": GATHER_MS,
        # With a pause, a fetch of the other partitions would go first behind a refused batch, and
        # last `fetch.wait.max.ms` if they have nothing.
        "fetch.error.backoff.ms": 0,
        "fetch.wait.max.ms": FETCH_WAIT_MS,
    }


def rebalance_s(environment: Environment) -> float:
    """How long a group waits for a member in a rebalance, and how seldom one may poll."""
    return max(MAX_POLL_INTERVAL_MS, environment.session_timeout_ms) / 1000


def new_group_consumer(
    environment: Environment, group: str, health: ClientHealth, *, instance: str = ""
) -> WatchedConsumer:
    """Return a member-to-be of a consumer group, read committed; static if `instance` is given."""
    static: dict[str, Setting] = {"group.instance.id": instance} if instance else {}
    shares = memory_shares(environment)
    return WatchedConsumer(
        {
            **client_settings(environment, health),
            **_consumer_settings(shares.waiting_records, shares.fetch_bytes),
            "group.id": environment.group(group),
            # The same partition numbers of every topic go to one member.
            "partition.assignment.strategy": "range",
            "isolation.level": "read_committed",
            "session.timeout.ms": environment.session_timeout_ms,
            # Members learn of a rebalance by their next heartbeat; the posts wait until then.
            "heartbeat.interval.ms": 300,
            "max.poll.interval.ms": int(1000 * rebalance_s(environment)),
            **static,
        }
    )


def new_log_consumer(
    environment: Environment,
    health: ClientHealth,
    *,
    committed: bool = True,
    group: str = "unused",
    waiting: int | None = None,
    fetch_wait_ms: int = FETCH_WAIT_MS,
) -> WatchedConsumer:
    """Return a consumer to be assigned by hand; it never joins a group and commits nothing.

    `group` matters only to a caller that asks for that group's offsets.  While `waiting` records
    wait to be taken, or those of `MemoryShares`, no more are fetched.  A fetch that finds nothing
    lasts `fetch_wait_ms`; only then does a partition that ends with a transaction's marker count as
    read to its end.
    """
    shares = memory_shares(environment)
    # The client looks for the coordinator of a group that it never uses; that needs no right.
    quiet = {"error_cb": partial(_without_group, health)} if group == "unused" else {}
    return WatchedConsumer(
        {
            **client_settings(environment, health),
            **_consumer_settings(waiting or shares.waiting_records, shares.fetch_bytes),
            **quiet,
            "group.id": environment.group(group),
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "fetch.wait.max.ms": fetch_wait_ms,
        }
    )


def _without_group(health: ClientHealth, error: KafkaError) -> None:
    if error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
        health.report(error)


def new_producer(
    environment: Environment,
    health: ClientHealth,
    *,
    transactional_id: str = "",
    queue_records: int = 1_000_000,
    timeout_ms: int | None = None,
    linger_ms: int = 0,
) -> WatchedProducer:
    """Return an idempotent producer with acks=all, transactional if an id is given.

    `timeout_ms` is how long a record waits for a broker that is away, ten seconds unless it is
    given; with transactions how long one may take, by default `TRANSACTION_TIMEOUT_MS`.
    `linger_ms` is how long a record in one waits for others; a commit sends all at once.
    """
    settings: dict[str, object] = {
        **client_settings(environment, health),
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "batch.size": MAX_BATCH_BYTES,
        "queue.buffering.max.messages": queue_records,
    }
    if transactional_id:
        settings |= {
            "transactional.id": environment.topic(transactional_id),
            "transaction.timeout.ms": timeout_ms or TRANSACTION_TIMEOUT_MS,
            "linger.ms": linger_ms,
        }
    else:
        settings |= {
            "linger.ms": 0,
            "message.timeout.ms": timeout_ms or _DELIVERY_MS,
            # A new leader that takes a second request before the first would lose the first.
            "max.in.flight.requests.per.connection": 1,
        }
    return WatchedProducer(settings)


class CallIsStuck(Exception):
    """A call of the client did not return although its timeout is over."""


def bounded(call: Callable[[], None], seconds: float) -> None:
    """Run a call of the client on a thread of its own, and leave it there if it hangs.

    After an outage of the broker librdkafka may never return from a transactional call.  The thread
    keeps the producer alive; the caller must not use it any more.

    Raises `CallIsStuck`: it took longer than so many seconds.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name="transaction call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise CallIsStuck
    if failures:
        raise failures[0]
