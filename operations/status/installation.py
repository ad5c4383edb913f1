"""One installation as the checks see it: what is asked for is read once a look.

No consumer joins a group, and nothing is committed, created or written.
"""

from __future__ import annotations

import base64
import logging
import socket
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

import kafka.errors
import msgspec
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from feedmill.events.signal import stage_of
from feedmill.operations.status.finding import Finding, Unreachable
from feedmill.operations.status.heartbeats import Heartbeats, Running
from feedmill.operations.worker_groups import Group, bounds_of, read_groups
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.client import (
    NO_CONNECTION,
    CallIsStuck,
    ClientHealth,
    bounded,
    client_settings,
    why_no_connection,
)
from feedmill.streams.kafka.dead_letters import TOPIC as LETTERS
from feedmill.streams.kafka.dead_letters import LetterHead, RejectedAt, Replay, read_letters
from feedmill.streams.kafka.offsets import Bounds
from feedmill.streams.kafka.topic_ids import INPUTS
from feedmill.streams.kafka.topic_reader import TopicReader, TopicRecord, open_topic
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS, HOUR_MS, TopicSpec, topic_table
from feedmill.streams.redis.pipelines import is_cluster, open_client
from feedmill.streams.redis.reader import FeedSnapshot, State
from feedmill.streams.redis.scripts import Keys
from feedmill.streams.security import way_out
from feedmill.streams.settings.config_log import ConfigLog, fold_log
from feedmill.streams.settings.instances import RECENT_MS

# Long enough for a busy server, and short enough for all of them to be away.
_CONNECT_S, _KAFKA_ANSWERS_S, _REDIS_ANSWERS_S = 2.0, 3.0, 2.0
# So far the clocks of two hosts may differ before it is a finding.
CLOCK_TOLERANCE_MS = 5_000
# Of the last hour, in a flood of bad records, too.
_MOST_LETTERS = 10_000
# Of so many posts of each partition it is seen whether they have the signals of other programs.
_NEWEST_POSTS = 20
_ANSWERED_WITHIN_MS = 5_000
_ALL = 2**31
_START = "start it (`feedmill local up` starts a local one)"

T = TypeVar("T")


@dataclass(frozen=True)
class Topic:
    """A topic as the brokers have it; `settings` are those in force, by Kafka's names.

    By partition: the brokers that have it, and those of them that have all of it.
    """

    id: str
    leaders: Mapping[int, int]
    replicas: Mapping[int, tuple[int, ...]]
    in_sync: Mapping[int, tuple[int, ...]]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def partitions(self) -> int:
        return len(self.replicas)


@dataclass(frozen=True)
class RedisNode:
    """A server that has keys: its address without credentials, and a client of it alone."""

    address: str
    client: Any

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What it says of itself."""
        info: Mapping[str, Any] = self.client.info("all")
        return info

    def command(self, words: str) -> str:
        """Return a command of a way out for Redis' own client."""
        return f"`redis-cli -u {self.address} {words}`"


@dataclass(frozen=True)
class FeedState:
    """A feed in Redis: for how long it is fresh still, and the stages that it depends on."""

    feed: str
    state: State
    fresh_for_ms: int
    stages: frozenset[str]


class _Asked(Generic[T]):
    """A property that is asked for once a look; its answer is kept, and so is why there is none."""

    def __init__(self, ask: Callable[[Any], T]) -> None:
        self._ask = ask
        self.__doc__ = ask.__doc__

    def __get__(self, inst: Installation, owner: type) -> T:
        return inst.once(self._ask.__name__, lambda: self._ask(inst))


class Installation:
    """What the checks may ask of an installation.

    Parameters
    ----------
    environment
        That of this process.
    variables
        From which it was read.
    now_ms
        The clock of this host.
    flags
        What the command line gave in place of variables, for the commands of ways out.
    """

    def __init__(
        self,
        environment: Environment,
        variables: Mapping[str, str],
        now_ms: Callable[[], int],
        flags: str = "",
    ) -> None:
        self.environment = environment
        self.variables = variables
        self.now_ms = now_ms
        self._flags = flags
        self._answers: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}
        self._open = ExitStack()
        self._readers: dict[str, TopicReader] = {}
        self._heartbeats = Heartbeats()
        self._letters = deque[LetterHead](maxlen=_MOST_LETTERS)
        self._replays: dict[RejectedAt, Replay] = {}

    def once(self, name: str, ask: Callable[[], T]) -> T:
        """Return what `ask` answers, from the second call on by memory; so with its error."""
        if name in self._errors:
            raise self._errors[name]
        if name not in self._answers:
            try:
                self._answers[name] = ask()
            except Exception as error:
                self._errors[name] = error
                raise
        answer: T = self._answers[name]
        return answer

    def if_known(self, ask: Callable[[Installation], T]) -> T | None:
        """Return an answer; None where there is none, of which a check tells."""
        try:
            return ask(self)
        except Exception:  # noqa: BLE001 - whichever check asks the same says why
            return None

    def ask_kafka(self, names: Sequence[str], within_s: float) -> None:
        """Ask for some answers ahead; what has none by then is `Unreachable` in this look."""

        def ask() -> None:
            for name in names:
                self.if_known(attrgetter(name))

        try:
            bounded(ask, within_s)
        except CallIsStuck:
            reason = f"no answer within {within_s:.0f} s"
            stuck = _no_kafka(self.environment.kafka, reason)
            self._errors |= dict.fromkeys(names, stuck)

    def forget(self) -> bool:
        """Forget the answers for the next look; return False where that has to connect anew."""
        kept = ("admin", "redis", "redis_nodes")
        self._answers = {name: self._answers[name] for name in kept if name in self._answers}
        return not self._errors

    def command(self, words: str) -> str:
        """Return a command of a way out, as it is typed where this one was."""
        return f"`feedmill {words}{self._flags}`"

    def close(self) -> None:
        """Let go of the connections that were made."""
        self._open.close()

    # --- Kafka ---------------------------------------------------------------------------

    @property
    def brokers(self) -> Mapping[int, str]:
        """The brokers that are up, by id, as ``host:port`` that they advertise."""
        found = self._metadata.brokers.values()
        return {one.id: f"{one.host}:{one.port}" for one in found}

    @_Asked
    def refused(self) -> Mapping[str, str]:
        """Addresses of `brokers` and of FEEDMILL_KAFKA where nobody can connect, and why."""
        named = [one.strip() for one in self.environment.kafka.split(",")]
        return _refused_addresses([*named, *self.brokers.values()])

    @_Asked
    def admin(self) -> KafkaAdminClient:
        """A client for questions; raises `Unreachable` where the brokers cannot be reached."""
        if all(address in self.refused for address in self.brokers.values()):
            # The check `addresses` names each.
            raise _no_listener(self.brokers, self.refused)
        milliseconds = int(1000 * _KAFKA_ANSWERS_S)
        admin = KafkaAdminClient(
            bootstrap_servers=self.environment.kafka.split(","),
            bootstrap_timeout_ms=milliseconds,
            request_timeout_ms=milliseconds,
            **self.environment.security,
        )
        self._open.callback(admin.close)
        return admin

    @_Asked
    def broker_settings(self) -> Mapping[str, str]:
        """The settings of brokers; where they differ, of one of them."""
        resources = [ConfigResource(ConfigResourceType.BROKER, str(node)) for node in self.brokers]
        found = self.admin.describe_configs(resources, config_filter="all")["broker"]
        return {name: value for one in found.values() for name, value in _values_of(one).items()}

    @_Asked
    def topics(self) -> Mapping[str, Topic]:
        """The topics of the table that exist, and Kafka's own, by their names without prefix."""
        environment, metadata = self.environment, self._metadata.topics
        names = {environment.topic(name): name for name in self.table}
        names |= {name: name for name in ("__consumer_offsets", "__transaction_state")}
        present = [full for full in names if full in metadata]
        if not present:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, full) for full in present]
        settings = self.admin.describe_configs(resources, config_filter="all")["topic"]
        ids = {one["name"]: one.get("topic_id") for one in self.admin.describe_topics(present)}
        return {
            names[full]: Topic(
                id=_committed_id(ids.get(full)),
                leaders={n: p.leader for n, p in metadata[full].partitions.items()},
                replicas={n: tuple(p.replicas) for n, p in metadata[full].partitions.items()},
                in_sync={n: tuple(p.isrs) for n, p in metadata[full].partitions.items()},
                settings=_values_of(settings[full]),
            )
            for full in present
        }

    @property
    def all_topics(self) -> tuple[str, ...]:
        """The full names of all topics that Kafka has."""
        return tuple(self._metadata.topics)

    @property
    def table(self) -> Mapping[str, TopicSpec]:
        """The topics that should exist, by their names without prefix."""
        return {spec.name: spec for spec in topic_table(self.environment.signals.all)}

    @_Asked
    def counts(self) -> Mapping[str, int]:
        """How many partitions the topics of the table have, those that exist."""
        found, full = self._metadata.topics, self.environment.topic
        return {
            name: len(found[full(name)].partitions) for name in self.table if full(name) in found
        }

    @property
    def partitions(self) -> int:
        """How many partitions `posts` has, else another topic that has as many."""
        counts = [n for name, n in self.counts.items() if self.table[name].partitions == "P"]
        return self.counts.get("posts", counts[0] if counts else DEFAULT_PARTITIONS)

    @_Asked
    def groups(self) -> Mapping[str, Group]:
        """The consumer groups of workers, by their names without prefix."""
        return read_groups(self.environment, self.admin)

    @_Asked
    def bounds(self) -> Mapping[TopicPartition, Bounds]:
        """Where the partitions of `posts` and `engagements` begin and end."""
        counts = {name: self.counts.get(name, 0) for name in INPUTS}
        places = [TopicPartition(name, n) for name, count in counts.items() for n in range(count)]
        return bounds_of(self.environment, self.admin, places)

    def newest(self, topic: str, count: int) -> list[TopicRecord]:
        """Return the newest records of each partition, so many at most; none without the topic."""
        return self.once(f"newest {count} of {topic}", lambda: self._newest(topic, count))

    @_Asked
    def config(self) -> ConfigLog:
        """The settings, and every record of `config`."""
        return fold_log(self.newest("config", _ALL), self.environment.signals)

    @_Asked
    def releases(self) -> list[TopicRecord]:
        """Every record of `models`."""
        return self.newest("models", _ALL)

    @_Asked
    def letters(self) -> Sequence[LetterHead]:
        """The dead letters of the last hour by the broker's time that were not sent again."""
        if not self._has(LETTERS):
            return ()
        reader = self._reader(LETTERS, lambda reader: reader.seek_before_end(_MOST_LETTERS))
        self._letters += read_letters(reader, self._replays)
        since_ms = self.running.now_ms - HOUR_MS
        recent = [one for one in self._letters if one.at_ms >= since_ms]
        return [one for one in recent if one.rejected not in self._replays]

    @_Asked
    def running(self) -> Running:
        """The instances that run.

        By the log's time: the clock of this host may be off, so members of the groups count, too.
        """
        if not self._has("instances"):
            return Running(self.now_ms())
        log_ms = max((one.at_ms for one in self.newest("instances", 1)), default=0)
        since_ms = max(0, log_ms - HOUR_MS)
        reader = self._reader("instances", lambda reader: reader.seek_to_time(since_ms))
        self._heartbeats.take(reader.read_to_end())
        is_recent = self.now_ms() - log_ms <= RECENT_MS + CLOCK_TOLERANCE_MS
        if not (is_recent or any(g.members for g in self.groups.values())):
            log_ms = self.now_ms()
        return self._heartbeats.running(log_ms)

    @_Asked
    def unanswered(self) -> Mapping[tuple[str, int], int]:
        """By signal of a program, and partition, how many of the newest posts should have it."""
        return {
            (name, partition): count
            for name in self.environment.signals.own
            if {"posts", f"signals.{name}"} <= self.counts.keys()
            for partition, count in self._unanswered(name).items()
        }

    def _unanswered(self, name: str) -> Mapping[int, int]:
        lacking: dict[tuple[int, bytes], int] = {}
        for record in self._newest("posts", _NEWEST_POSTS):
            key = record.partition, record.key or b""
            lacking.pop(key, None)
            if record.value and record.at_ms < self.running.now_ms - _ANSWERED_WITHIN_MS:
                lacking[key] = record.offset
        # Each post may have been answered more than once.
        for record in self._newest(f"signals.{name}", 10 * _NEWEST_POSTS):
            key = record.partition, record.key or b""
            try:
                answer = msgspec.json.decode(record.value or b"", type=_Answer)
            except msgspec.MsgspecError:
                continue
            if answer.post_offset >= lacking.get(key, 0):
                lacking.pop(key, None)
        return Counter(partition for partition, _ in lacking)

    @_Asked
    def _metadata(self) -> Any:
        environment = self.environment
        addresses = [one.strip() for one in environment.kafka.split(",")]
        refused = _refused_addresses(addresses)
        if len(refused) == len(addresses):
            raise _no_kafka(environment.kafka, "; ".join(refused.values()))
        settings = client_settings(environment, ClientHealth()) | {"log_level": 0}
        # It never writes to a terminal: what it says is in the error.
        client = AdminClient({**settings, "logger": logging.getLogger("feedmill.status.silent")})
        try:
            return client.list_topics(timeout=_KAFKA_ANSWERS_S)
        except KafkaException as error:
            reason = why_no_connection(environment)
            if reason == NO_CONNECTION:
                reason = "it takes connections and does not answer"
            raise _no_kafka(environment.kafka, reason) from error

    def _has(self, topic: str) -> bool:
        """Whether a topic exists; raises `Unreachable` where nobody can connect to the brokers."""
        return topic in self.counts and self.admin is not None

    def _newest(self, topic: str, count: int) -> list[TopicRecord]:
        if not self._has(topic):
            return []
        with open_topic(self.environment, topic) as reader:
            reader.seek_before_end(count)
            by_partition: dict[int, deque[TopicRecord]] = {}
            for record in reader.read_to_end():
                by_partition.setdefault(record.partition, deque(maxlen=count)).append(record)
        return [record for records in by_partition.values() for record in records]

    def _reader(self, topic: str, start: Callable[[TopicReader], None]) -> TopicReader:
        """Return what reads on where the last look ended; in the first one, from `start` on."""
        if topic not in self._readers:
            reader = self._open.enter_context(open_topic(self.environment, topic))
            start(reader)
            self._readers[topic] = reader
        return self._readers[topic]

    # --- Redis ---------------------------------------------------------------------------

    @_Asked
    def redis(self) -> Any:
        """A client that reads every key; raises `Unreachable` where Redis refuses it or is away."""
        try:
            client = open_client(
                self.environment.redis,
                socket_timeout=_REDIS_ANSWERS_S,
                socket_connect_timeout=_REDIS_ANSWERS_S,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                encoding_errors="replace",
                # As the worker's client: what it is refused, this one is.
                protocol=2,
            )
            # One that takes no writes refuses even a PING; a cluster has told its nodes by now.
            if not is_cluster(self.environment.redis):
                client.echo("feedmill")
        except redis.exceptions.NoPermissionError:
            pass
        except redis.RedisError as error:
            raise _no_redis(self.environment, error) from error
        self._open.callback(client.close)
        return client

    @_Asked
    def redis_nodes(self) -> Sequence[RedisNode]:
        """The server, or each primary of a cluster; raises as `redis` does."""
        if not is_cluster(self.environment.redis):
            return [RedisNode(self.environment.redis_address, self.redis)]
        scheme = "rediss" if self.environment.redis.startswith("rediss") else "redis"
        nodes = sorted(self.redis.get_primaries(), key=lambda node: (node.host, node.port))
        return [
            RedisNode(
                f"{scheme}://{node.host}:{node.port}/0", self.redis.get_redis_connection(node)
            )
            for node in nodes
        ]

    @property
    def keys(self) -> Keys:
        """The names of the installation's keys."""
        return Keys(self.environment.redis_prefix)

    @_Asked
    def feeds(self) -> Sequence[FeedState]:
        """The feeds in Redis; whether they are fresh by the time as workers go by."""
        running = self.if_known(lambda inst: inst.running)
        now_ms = self.now_ms() if running is None else running.log_now_ms
        names = self.redis.zrange(self.keys.feed_index, 0, -1)
        with self.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(self.keys.info(name))
            infos = pipe.execute()
        feeds = [FeedSnapshot(name, (), info) for name, info in zip(names, infos, strict=True)]
        return [_feed_state(feed, now_ms) for feed in feeds if feed.info]


Check = Callable[[Installation], Iterator[Finding]]

_NO_RIGHT = (
    kafka.errors.ClusterAuthorizationFailedError,
    kafka.errors.GroupAuthorizationFailedError,
    kafka.errors.TopicAuthorizationFailedError,
    redis.exceptions.NoPermissionError,
)


class Examination(NamedTuple):
    """What came of some checks; `skipped` need a server that is away."""

    findings: list[Finding]
    checks: int
    skipped: int


def examine(inst: Installation, checks: Sequence[Check]) -> Examination:
    """Make the checks: one that fails is a finding, and the others go on.

    Waits some seconds at most for each server that is away.
    """
    found: list[Finding] = []
    unreachable: list[Finding] = []
    failed: dict[str, Finding] = {}
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            found += [replace(one, check=name) for one in check(inst)]
        except Unreachable as error:
            unreachable.append(error.finding)
        except Exception as error:  # noqa: BLE001 - a check that fails is a finding
            # Several may fail by one answer.
            failed.setdefault(str(error), _failed(inst, name, error))
    findings = list(dict.fromkeys([*unreachable, *failed.values(), *found]))
    skipped = len(unreachable)
    return Examination(findings, len(checks) - skipped, skipped)


def _failed(inst: Installation, name: str, error: Exception) -> Finding:
    is_redis = isinstance(error, redis.RedisError)
    where = f"Kafka at {inst.environment.kafka}"
    if is_redis:
        where = f"Redis at {inst.environment.redis_address}"
    reason = str(error).strip() or type(error).__name__
    if not isinstance(error, _NO_RIGHT):
        what = f"the check of {name} could not be made: {reason}"
        way_out = "see the log of that server, and look again"
        return Finding("wrong", what, where, way_out, is_stale=True, check=name)
    rights = "Describe and DescribeConfigs of cluster, topics and groups"
    if is_redis:
        rights = "+config|get +info +acl|whoami +acl|dryrun +time +type"
    what = f"the check of {name} needs a right: {reason}"
    return Finding("warn", what, where, f"give the user {rights}", is_stale=True, check=name)


class _Answer(msgspec.Struct):
    """What is read of a signal."""

    post_id: str
    post_offset: int


def _away(check: str, where: str, what: str, way_out: str) -> Unreachable:
    return Unreachable(Finding("wrong", what, where, way_out, is_stale=True, check=check))


def _no_kafka(addresses: str, reason: str) -> Unreachable:
    """Say that nobody answers at the addresses of Kafka, or not as it should."""
    start = f"{_START}, or correct FEEDMILL_KAFKA, --kafka or the credentials"
    out = way_out(reason, "KAFKA") or start
    return _away("kafka", f"Kafka at {addresses}", f"cannot be reached: {reason}", out)


def _no_listener(brokers: Mapping[int, str], refused: Mapping[str, str]) -> Unreachable:
    """Say that Kafka answers, and that nobody can connect to the addresses that it advertises."""
    return _away(
        "kafka",
        f"Kafka at {', '.join(brokers.values())}",
        "it answers, and advertises addresses that cannot be reached from here: "
        + "; ".join(refused[address] for address in brokers.values()),
        "set advertised.listeners of each broker to an address that this host and all workers reach"
        " (a name that resolves here, a port that is open), and restart the broker",
    )


def _no_redis(environment: Environment, error: redis.RedisError) -> Unreachable:
    """Say why Redis cannot be used."""
    reason = str(error).rstrip(".") or type(error).__name__
    out = way_out(reason, "REDIS") or f"{_START}, or correct FEEDMILL_REDIS or --redis"
    if isinstance(error, redis.AuthenticationError | redis.ResponseError):
        out = "it answers: correct user, password and database in FEEDMILL_REDIS,"
        out += " redis://user:password@host:port/0"
    return _away("redis", f"Redis at {environment.redis_address}", reason, out)


def _refused_addresses(addresses: Iterable[str]) -> dict[str, str]:
    """Return the addresses ``host:port`` at which nobody can connect, each with its reason.

    Waits some two seconds at most, however many there are, and however long a name takes.
    """
    found: dict[str, str] = {}

    def ask(address: str) -> None:
        found[address] = _refusal(address)

    asked = dict.fromkeys(addresses)
    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in asked]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _CONNECT_S + 0.5
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    reasons = {address: found.get(address, f"{address}: timed out") for address in asked}
    return {address: reason for address, reason in reasons.items() if reason}


def _refusal(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except socket.gaierror:
        return f"the name {host} does not resolve here"
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "timed out"
        return f"{address}: {str(reason).lower()}"
    return ""


def _values_of(entries: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Return the values of settings, by name."""
    return {name: str(entry["value"]) for name, entry in entries.items()}


def _committed_id(topic_id: str | None) -> str:
    """Return the id of a topic as workers commit it; "" from a broker that has none."""
    content = uuid.UUID(topic_id).bytes if topic_id else b""
    return base64.b64encode(content).decode().rstrip("=")


def _feed_state(feed: FeedSnapshot, now_ms: int) -> FeedState:
    stages = [name for name, gate in feed.gates.items() if gate.required]
    stages += map(stage_of, feed.weights.signals)
    return FeedState(feed.feed, feed.state(now_ms), feed.fresh_for_ms(now_ms), frozenset(stages))
