"""Creates the topics of an installation, and compares them with the table.

The number of partitions can never change under one prefix, because offsets, counters and the
partition of a key depend on it. `create` therefore refuses to change it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import kafka.errors
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, OffsetSpec

from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import no_kafka, why_no_connection
from feedmill.streams.kafka.topic_table import MAX_PARTITIONS, TopicSpec, topic_table
from feedmill.streams.security import CLIENT_SETTINGS

_TOPIC_EXISTS = 36
# kafka-python waits for half a minute by default, which is long for a wrong address.
_CONNECT_MS = 10_000
_SETTINGS_TIMEOUT_S = 10.0
_SERVED_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class SettingDifference:
    """A setting of a topic that differs from the table; `found` is "" where it is not set."""

    topic: str
    setting: str
    found: str
    expected: str


@dataclass(frozen=True)
class CreateReport:
    """What `create` did; topics by their full names.

    `applied` says whether it changed the settings in `differences`.
    """

    created: tuple[str, ...]
    existing: tuple[str, ...]
    differences: tuple[SettingDifference, ...]
    applied: bool


@dataclass(frozen=True)
class TopicState:
    """A topic of the table as the broker has it; `partitions` is None if it does not exist."""

    name: str
    partitions: int | None
    replicas: int
    settings: Mapping[str, str] = field(hash=False)
    differences: tuple[SettingDifference, ...]


def create(  # noqa: PLR0913 - the last three have defaults
    bootstrap: str,
    prefix: str,
    partitions: int,
    signals: Sequence[str],
    *,
    replicas: int = -1,
    apply_settings: bool = False,
    client: Mapping[str, Any] = {},
) -> CreateReport:
    """Create the missing topics, and wait until the leaders of all partitions serve them.

    `prefix` comes before the name of every topic, `partitions` is the number for topics that have
    "P" of them, and `signals` are the names of all signals.  `replicas` -1 is the broker's default.
    With `apply_settings` existing topics get the settings of the table.  `client` are further
    settings of Kafka's client, such as `security_protocol`.

    Raises `UsageError`: a topic has another number of partitions (then nothing is created), or
    Kafka cannot be reached, or it refuses.
    """
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise UsageError(f"partitions: expected 1 to {MAX_PARTITIONS}, got {partitions}")
    table = {prefix + spec.name: spec for spec in topic_table(signals)}
    with open_admin(bootstrap, client) as admin:
        existing = _existing_topics(admin, table)
        _refuse_repartitioning(existing, table, partitions, prefix)
        missing = [name for name in table if name not in existing]
        _create_topics(admin, missing, table, partitions, replicas)
        differences = _differences(admin, table, list(existing))
        if apply_settings and differences:
            _change_settings(admin, differences)
            _wait_until_set(admin, table, list(existing))
    return CreateReport(tuple(missing), tuple(existing), tuple(differences), apply_settings)


def describe(
    bootstrap: str, prefix: str, signals: Sequence[str], *, client: Mapping[str, Any] = {}
) -> tuple[TopicState, ...]:
    """Every topic of the table as the broker has it; parameters and errors as of `create`."""
    table = {prefix + spec.name: spec for spec in topic_table(signals)}
    with open_admin(bootstrap, client) as admin:
        existing = _existing_topics(admin, table)
        settings = _read_settings(admin, list(existing))
    return tuple(
        TopicState(
            name=name,
            partitions=len(existing[name]) if name in existing else None,
            replicas=len(existing[name][0]["replica_nodes"]) if name in existing else 0,
            settings={key: settings.get(name, {}).get(key, "") for key in spec.settings},
            differences=tuple(_compare(name, spec, settings[name])) if name in existing else (),
        )
        for name, spec in table.items()
    )


@contextmanager
def open_admin(bootstrap: str, client: Mapping[str, Any]) -> Iterator[KafkaAdminClient]:
    """Give an admin client; within the block an error of Kafka becomes a `UsageError`."""
    try:
        settings = {"bootstrap_timeout_ms": _CONNECT_MS, **client}
        admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","), **settings)
        try:
            yield admin
        finally:
            admin.close()
    except kafka.errors.KafkaError as error:
        # The client's own text lists its attempts; the address is in the message already.
        is_away = isinstance(error, kafka.errors.KafkaTimeoutError)
        security = {name: client[name] for name in CLIENT_SETTINGS if name in client}
        asked = Environment(kafka=bootstrap, security=security)
        reason = why_no_connection(asked) if is_away else str(error) or type(error).__name__
        raise no_kafka(bootstrap, reason) from error


@contextmanager
def keep_stamps(bootstrap: str, client: Mapping[str, Any], names: Sequence[str]) -> Iterator[None]:
    """Let topics keep producers' timestamps within the block, and broker's timestamps after it.

    Raises what `create` raises.
    """
    with open_admin(bootstrap, client) as admin:
        try:
            _set_stamps(admin, names, "CreateTime")
            yield
        finally:
            _set_stamps(admin, names, "LogAppendTime")


def _set_stamps(admin: KafkaAdminClient, names: Sequence[str], kind: str) -> None:
    wanted = [TopicSpec(name, "P", {"message.timestamp.type": kind}) for name in names]
    table = {spec.name: spec for spec in wanted}
    _change_settings(admin, _differences(admin, table, names))
    _wait_until_set(admin, table, names)


def _existing_topics(
    admin: KafkaAdminClient, table: Mapping[str, TopicSpec]
) -> dict[str, list[dict[str, Any]]]:
    """The partitions of the table's topics that exist, in the table's order."""
    # To describe a topic by name would create it on a broker that creates topics by itself.
    partitions = {topic["name"]: topic["partitions"] for topic in admin.describe_topics()}
    return {name: partitions[name] for name in table if name in partitions}


def _refuse_repartitioning(
    existing: Mapping[str, Any], table: Mapping[str, TopicSpec], partitions: int, prefix: str
) -> None:
    wrong = [
        f"{name} {len(existing[name])} instead of {table[name].count(partitions)}"
        for name in existing
        if len(existing[name]) != table[name].count(partitions)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UsageError(
            f"topics exist with another number of partitions: {', '.join(wrong[:3])}{more}. The"
            f" number cannot change under the prefix '{prefix}', because keys and offsets depend on"
            " it. Give the old number as --partitions; or create the topics under a new"
            " FEEDMILL_TOPIC_PREFIX, and have `feedmill topics copy` fill them"
            " (docs/operating/operator.md#more-partitions)"
        )


def _create_topics(
    admin: KafkaAdminClient,
    missing: Sequence[str],
    table: Mapping[str, TopicSpec],
    partitions: int,
    replicas: int,
) -> None:
    if not missing:
        return
    wanted = {
        name: {
            "num_partitions": table[name].count(partitions),
            "replication_factor": replicas,
            "configs": dict(table[name].settings),
        }
        for name in missing
    }
    answer = admin.create_topics(wanted, raise_errors=False)
    refused = [
        f"`{topic['name']}`: {topic['error_message'] or kafka.errors.for_code(code).__name__}"
        for topic in answer["topics"]
        # Another process may have created it in the meantime, from the same table.
        if (code := topic["error_code"]) not in (0, _TOPIC_EXISTS)
    ]
    if refused:
        raise UsageError(f"Kafka does not create {'; '.join(refused)}")
    admin.wait_for_topics(missing)
    every = (TopicPartition(n, p) for n in missing for p in range(table[n].count(partitions)))
    _wait_until_served(admin, list(every))


def _wait_until_served(admin: KafkaAdminClient, partitions: Sequence[TopicPartition]) -> None:
    """Wait until the leaders answer for these partitions.

    A broker is named as a leader before it takes records.  An idempotent producer that writes in
    between can lose its first record: docs/decisions/loop.md.
    """
    deadline = time.monotonic() + _SERVED_TIMEOUT_S
    while True:
        try:
            admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
            return
        except kafka.errors.UnknownTopicOrPartitionError:
            # The broker that is asked now has not heard of the topics yet.
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _read_settings(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answer = admin.describe_configs(resources, config_filter="all")["topic"]
    return {
        name: {key: str(entry["value"]) for key, entry in entries.items()}
        for name, entries in answer.items()
    }


def _compare(
    name: str, spec: TopicSpec, settings: Mapping[str, str]
) -> Iterator[SettingDifference]:
    for setting, expected in spec.settings.items():
        found = settings.get(setting, "")
        # Kafka returns a list in an order of its own.
        if sorted(found.split(",")) != sorted(expected.split(",")):
            yield SettingDifference(name, setting, found, expected)


def _differences(
    admin: KafkaAdminClient, table: Mapping[str, TopicSpec], names: Sequence[str]
) -> list[SettingDifference]:
    settings = _read_settings(admin, names)
    return [change for name in names for change in _compare(name, table[name], settings[name])]


def _change_settings(admin: KafkaAdminClient, differences: Sequence[SettingDifference]) -> None:
    wanted: dict[str, dict[str, str]] = {}
    for difference in differences:
        wanted.setdefault(difference.topic, {})[difference.setting] = difference.expected
    answer = admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, wanted[name]) for name in wanted]
    )
    refused = [f"`{name}`: {text}" for name, text in answer["topic"].items() if text != "OK"]
    if refused:
        raise UsageError(f"Kafka does not change the settings of {'; '.join(refused)}")


def _wait_until_set(
    admin: KafkaAdminClient, table: Mapping[str, TopicSpec], names: Sequence[str]
) -> None:
    """Wait until the brokers have the new settings; the controller answers before that."""
    deadline = time.monotonic() + _SETTINGS_TIMEOUT_S
    while pending := _differences(admin, table, names):
        if time.monotonic() > deadline:
            raise UsageError(
                f"{pending[0].topic}: {pending[0].setting} is still {pending[0].found} after"
                f" {_SETTINGS_TIMEOUT_S:.0f} s; run the command again, and see the broker's log"
            )
        time.sleep(0.1)
