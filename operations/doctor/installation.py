"""One installation as the checks see it: what is asked for is read once, and nothing is changed.

No consumer joins a group, and nothing is committed, written or created.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from feedmill.events.instance import Instance
from feedmill.operations.doctor.addresses import refused_addresses
from feedmill.operations.doctor.cluster import (
    Topic,
    committed_id,
    values_of,
)
from feedmill.operations.doctor.unreachable import Unreachable, no_kafka, no_listener, no_redis
from feedmill.operations.worker_groups import Group, read_groups
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import ClientHealth, client_settings
from feedmill.streams.kafka.topic_reader import TopicRecord, open_topic
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS, TopicSpec, topic_table
from feedmill.streams.redis.pipelines import is_cluster, open_client
from feedmill.streams.redis.scripts import Keys
from feedmill.streams.settings.config_log import ConfigLog, fold_log
from feedmill.streams.settings.instances import RECENT_MS, recent_instances

# Long enough for a busy server, and short enough for all of them to be away.
KAFKA_ANSWERS_S = 3.0
REDIS_ANSWERS_S = 2.0
# So far the clocks of two hosts may differ before it is a finding.
CLOCK_TOLERANCE_MS = 5_000
# Of `instances`: what some hundred workers write in 15 s.
_HEARTBEATS = 5_000

T = TypeVar("T")


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

    @cached_property
    def user(self) -> str:
        """Who this process is there; raises as the server refuses it."""
        return str(self.client.execute_command("ACL WHOAMI"))

    def command(self, words: str) -> str:
        """Return a command of a way out for Redis' own client."""
        return f"`redis-cli -u {self.address} {words}`"


class Installation:
    """What the checks may ask; each answer is kept, and so is why there is none.

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
        self._answers: dict[str, object] = {}
        self._errors: dict[str, Exception] = {}

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
        return self._answers[name]  # type: ignore[return-value] # of the same `ask`

    def command(self, words: str) -> str:
        """Return a command of a way out, as it is typed where this one was."""
        return f"`feedmill {words}{self._flags}`"

    def close(self) -> None:
        """Let go of the connections that were made."""
        for name in ("admin", "redis"):
            if name in self._answers:
                self._answers[name].close()  # type: ignore[attr-defined] # both are clients

    # --- Kafka ---------------------------------------------------------------------------

    @property
    def brokers(self) -> Mapping[int, str]:
        """The brokers that are up, by id, as ``host:port`` that they advertise."""
        found = self._metadata.brokers.values()
        return {one.id: f"{one.host}:{one.port}" for one in found}

    @property
    def refused(self) -> Mapping[str, str]:
        """Addresses of `brokers` and of FEEDMILL_KAFKA where nobody can connect, and why."""
        return self.once("refused", self._refused)

    @property
    def admin(self) -> KafkaAdminClient:
        """A client for questions; raises `Unreachable` where the brokers cannot be reached."""
        return self.once("admin", self._open_admin)

    @property
    def broker_settings(self) -> Mapping[int, Mapping[str, str]]:
        """The settings of each broker."""
        return self.once("broker settings", self._broker_settings)

    @property
    def topics(self) -> Mapping[str, Topic]:
        """The topics of the table that exist, and Kafka's own, by their names without prefix."""
        return self.once("topics", self._topics)

    @property
    def all_topics(self) -> tuple[str, ...]:
        """The full names of all topics that Kafka has."""
        return tuple(self._metadata.topics)

    @property
    def table(self) -> Mapping[str, TopicSpec]:
        """The topics that should exist, by their names without prefix."""
        return {spec.name: spec for spec in topic_table(self.environment.signals.all)}

    @property
    def partitions(self) -> int:
        """How many partitions `posts` has, else another topic that has as many."""
        varying = [name for name, spec in self.table.items() if spec.partitions == "P"]
        counts = [self.topics[name].partitions for name in varying if name in self.topics]
        return counts[0] if counts else DEFAULT_PARTITIONS

    @property
    def groups(self) -> Mapping[str, Group]:
        """The consumer groups of workers, by their names without prefix."""
        return self.once("groups", partial(read_groups, self.environment, self.admin))

    def newest(self, topic: str, count: int) -> list[TopicRecord]:
        """Return the newest records of each partition, so many at most; none without the topic."""
        return self.once(f"newest {count} of {topic}", lambda: self._newest(topic, count))

    @property
    def config(self) -> ConfigLog:
        """The settings, and every record of `config`."""
        return self.once("config", self._config)

    @property
    def releases(self) -> list[TopicRecord]:
        """Every record of `models`."""
        return self.once("models", partial(self._whole, "models"))

    @property
    def heartbeats(self) -> list[TopicRecord]:
        """The records of `instances` of the last 15 s before its newest one."""
        records = self.newest("instances", _HEARTBEATS)
        newest_ms = max((record.at_ms for record in records), default=0)
        return [record for record in records if record.at_ms >= newest_ms - RECENT_MS]

    @property
    def instances(self) -> Mapping[str, Instance]:
        """The instances that run, by ``<stage>/<instance>``.

        By the log's time: the clock of this host may be off, so members of the groups count, too.
        """
        records = self.heartbeats
        newest_ms = max((record.at_ms for record in records), default=0)
        is_recent = self.now_ms() - newest_ms <= RECENT_MS + CLOCK_TOLERANCE_MS
        if not is_recent and not any(group.members for group in self.groups.values()):
            return {}
        return recent_instances(records, newest_ms)

    @property
    def _metadata(self) -> Any:
        return self.once("metadata", self._ask_metadata)

    def _ask_metadata(self) -> Any:
        environment = self.environment
        addresses = [one.strip() for one in environment.kafka.split(",")]
        refused = refused_addresses(addresses)
        if len(refused) == len(addresses):
            raise Unreachable(no_kafka(environment.kafka, "; ".join(refused.values())))
        settings = client_settings(environment, ClientHealth()) | {"log_level": 0}
        # It never writes to a terminal: what it says is in the error.
        client = AdminClient({**settings, "logger": logging.getLogger("feedmill.doctor.silent")})
        try:
            return client.list_topics(timeout=KAFKA_ANSWERS_S)
        except KafkaException as error:
            reason = "it takes connections and does not answer"
            if environment.security:
                reason += f" ({error.args[0].str()}): are protocol and credentials right?"
            raise Unreachable(no_kafka(environment.kafka, reason)) from error

    def _refused(self) -> Mapping[str, str]:
        named = [one.strip() for one in self.environment.kafka.split(",")]
        return refused_addresses([*named, *self.brokers.values()])

    def _open_admin(self) -> KafkaAdminClient:
        if all(address in self.refused for address in self.brokers.values()):
            # `listeners` names the addresses.
            raise Unreachable(no_listener(self.brokers, self.refused))
        milliseconds = int(1000 * KAFKA_ANSWERS_S)
        return KafkaAdminClient(
            bootstrap_servers=self.environment.kafka.split(","),
            bootstrap_timeout_ms=milliseconds,
            request_timeout_ms=milliseconds,
            **self.environment.security,
        )

    def _broker_settings(self) -> Mapping[int, Mapping[str, str]]:
        resources = [ConfigResource(ConfigResourceType.BROKER, str(node)) for node in self.brokers]
        found = self.admin.describe_configs(resources, config_filter="all")["broker"]
        return {int(node): values_of(settings) for node, settings in found.items()}

    def _topics(self) -> Mapping[str, Topic]:
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
                id=committed_id(ids.get(full)),
                leaders={n: p.leader for n, p in metadata[full].partitions.items()},
                replicas={n: tuple(p.replicas) for n, p in metadata[full].partitions.items()},
                in_sync={n: tuple(p.isrs) for n, p in metadata[full].partitions.items()},
                settings=values_of(settings[full]),
            )
            for full in present
        }

    def _newest(self, topic: str, count: int) -> list[TopicRecord]:
        if topic not in self.topics:
            return []
        with open_topic(self.environment, topic) as reader:
            reader.seek_before_end(count)
            by_partition: dict[int, deque[TopicRecord]] = {}
            for record in reader.read_to_end():
                by_partition.setdefault(record.partition, deque(maxlen=count)).append(record)
        return [record for records in by_partition.values() for record in records]

    def _config(self) -> ConfigLog:
        return fold_log(self._whole("config"), self.environment.signals)

    def _whole(self, topic: str) -> list[TopicRecord]:
        if topic not in self.topics:
            return []
        with open_topic(self.environment, topic) as reader:
            reader.seek_to_beginning()
            return list(reader.read_to_end())

    # --- Redis ---------------------------------------------------------------------------

    @property
    def redis_nodes(self) -> Sequence[RedisNode]:
        """The server, or each primary of a cluster; each is examined by itself.

        It raises `Unreachable` where Redis does not answer or refuses it.
        """
        return self.once("redis nodes", self._redis_nodes)

    @property
    def redis_keys(self) -> Any:
        """A client that reads every key; raises as `redis_nodes` does."""
        return self.once("redis", self._open_redis)

    @property
    def keys(self) -> Keys:
        """The names of the installation's keys."""
        return Keys(self.environment.redis_prefix)

    def _redis_nodes(self) -> Sequence[RedisNode]:
        client = self.redis_keys
        if not is_cluster(self.environment.redis):
            return [RedisNode(self.environment.redis_address, client)]
        scheme = "rediss" if self.environment.redis.startswith("rediss") else "redis"
        nodes = sorted(client.get_primaries(), key=lambda node: (node.host, node.port))
        return [
            RedisNode(
                f"{scheme}://{node.host}:{node.port}/0",
                client.get_redis_connection(node),
            )
            for node in nodes
        ]

    def _open_redis(self) -> Any:
        try:
            client = open_client(
                self.environment.redis,
                socket_timeout=REDIS_ANSWERS_S,
                socket_connect_timeout=REDIS_ANSWERS_S,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                # As the worker's client: what it is refused, this one is.
                protocol=2,
            )
            # One that takes no writes refuses even a PING; a cluster has told its nodes by now.
            if not is_cluster(self.environment.redis):
                client.echo("feedmill")
        except redis.exceptions.NoPermissionError:
            pass
        except redis.RedisError as error:
            raise Unreachable(no_redis(self.environment, error)) from error
        return client
