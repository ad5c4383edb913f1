"""Every topic of an installation in one table, and its creation.

The number of partitions is fixed for the life of a prefix: offsets, counters and the
partition of a key all depend on it. `create` therefore never changes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import kafka.errors
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from feedmill.events.errors import UsageError

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MIB = 1024 * 1024

DEFAULT_PARTITIONS = 4
# The most hosts allow: each partition costs a broker open files and memory.
MOST_PARTITIONS = 1024
# The longest feed window (`window_hours` 168 by default) and a day.
WINDOW_MS = 8 * DAY_MS
# What one record of an event topic may take; far above the limits at the border.
EVENT_BYTES = MIB
# A dead letter is a whole refused record and its headers.
LETTER_BYTES = 4 * MIB

_TOPIC_EXISTS = 36
_SETTLED_S = 10.0

Partitions = Literal["P"] | int


@dataclass(frozen=True)
class TopicSpec:
    """One topic, named without its prefix; `settings` are Kafka's own, by Kafka's names."""

    name: str
    partitions: Partitions
    settings: Mapping[str, str] = field(hash=False)

    def count(self, partitions: int) -> int:
        """Return how many partitions it has where `P` is `partitions`."""
        return partitions if self.partitions == "P" else self.partitions


def topic_table(signals: Sequence[str]) -> tuple[TopicSpec, ...]:
    """Return every topic; `signals` are the names of all signals, built in and declared."""
    return (
        TopicSpec(
            "posts",
            "P",
            # Nobody that lags less than the window misses a deletion, and what filters remember
            # of the last hour is the same after a restart: superseded versions stay as long.
            _view(WINDOW_MS, min_lag_ms=2 * HOUR_MS) | {"delete.retention.ms": str(WINDOW_MS)},
        ),
        TopicSpec("engagements", "P", _log(WINDOW_MS, segment_ms=6 * HOUR_MS)),
        *(TopicSpec(f"signals.{name}", "P", _view(WINDOW_MS)) for name in signals),
        # An hour's lag lets a new owner see what a paused old one wrote after it.
        TopicSpec("counters", "P", _view(WINDOW_MS, min_lag_ms=HOUR_MS)),
        TopicSpec("overrides", 1, _compacted()),
        TopicSpec("labels", "P", _log(365 * DAY_MS, segment_ms=7 * DAY_MS)),
        # Settings are folded from the log's beginning: no record of it may ever go.
        TopicSpec("config", 1, _log(-1, segment_ms=7 * DAY_MS) | {"retention.bytes": "-1"}),
        TopicSpec("models", 1, _compacted()),
        TopicSpec("instances", 1, _view(DAY_MS, segment_mib=1)),
        TopicSpec("rankings", "P", _log(30 * DAY_MS, segment_ms=DAY_MS)),
        # Nobody writes here: its assignment says who writes which feeds.
        TopicSpec("feed-shards", 64, _log(DAY_MS, segment_ms=DAY_MS)),
        TopicSpec("dead-letters", 1, _log(14 * DAY_MS, DAY_MS, largest=LETTER_BYTES)),
        TopicSpec("follows", "P", _compacted()),
    )


# The broker's time on every record: no producer can post-date what it writes, and what goes by
# time does not depend on the clocks of hosts.
_STAMPED = {"message.timestamp.type": "LogAppendTime"}


def _log(retention_ms: int, segment_ms: int, largest: int = EVENT_BYTES) -> dict[str, str]:
    """Records in order, dropped by age; a segment goes when its last record is old enough."""
    return {
        **_STAMPED,
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "segment.bytes": str(64 * MIB),
        "segment.ms": str(segment_ms),
        "max.message.bytes": str(largest),
    }


def _view(retention_ms: int, min_lag_ms: int = 0, segment_mib: int = 16) -> dict[str, str]:
    """Last record per key within a time; readers start at the beginning, so it stays short.

    Only closed segments are compacted: small ones, closed often, keep superseded
    records from piling up in front of a restart.
    """
    return {
        **_STAMPED,
        "cleanup.policy": "compact,delete",
        "retention.ms": str(retention_ms),
        "segment.bytes": str(segment_mib * MIB),
        "segment.ms": str(10 * MINUTE_MS),
        "min.cleanable.dirty.ratio": "0.3",
        "min.compaction.lag.ms": str(min_lag_ms),
        "max.compaction.lag.ms": str(min_lag_ms + 30 * MINUTE_MS),
        "max.message.bytes": str(EVENT_BYTES),
    }


def _compacted() -> dict[str, str]:
    """Last record per key, kept for ever."""
    return {
        **_STAMPED,
        "cleanup.policy": "compact",
        "segment.bytes": str(16 * MIB),
        "segment.ms": str(HOUR_MS),
        "max.compaction.lag.ms": str(DAY_MS),
        "max.message.bytes": str(EVENT_BYTES),
    }


@dataclass(frozen=True)
class SettingDifference:
    """A setting of a topic that is not what the table says."""

    topic: str
    setting: str
    found: str
    expected: str


@dataclass(frozen=True)
class CreateReport:
    """What `create` did, topics by their full names."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    differences: tuple[SettingDifference, ...]
    applied: bool


@dataclass(frozen=True)
class TopicState:
    """A topic of the table as the broker has it; `partitions` is None where it is missing."""

    name: str
    partitions: int | None
    replicas: int
    settings: Mapping[str, str] = field(hash=False)
    differences: tuple[SettingDifference, ...]


def create(  # noqa: PLR0913 (an installation is that much; the last three have defaults)
    bootstrap: str,
    prefix: str,
    partitions: int,
    signals: Sequence[str],
    *,
    replicas: int = -1,
    apply_settings: bool = False,
    client: Mapping[str, Any] = {},
) -> CreateReport:
    """Create the missing topics and wait until each has a leader.

    What exists is left as it is, except that `apply_settings` sets what differs from the
    table. `replicas` -1 is the broker's default; `client` goes to the Kafka client as it is.

    Raises
    ------
    UsageError
        A topic has another number of partitions (nothing is created then), or Kafka is away
        or refuses.
    """
    if not 1 <= partitions <= MOST_PARTITIONS:
        raise UsageError(f"partitions: expected 1 to {MOST_PARTITIONS}, got {partitions}")
    table = {prefix + spec.name: spec for spec in topic_table(signals)}
    with _admin(bootstrap, client) as admin:
        found = _found(admin, table)
        _refuse_repartitioning(found, table, partitions, prefix)
        missing = [name for name in table if name not in found]
        _create(admin, missing, table, partitions, replicas)
        settings = _settings(admin, list(found))
        differences = [d for name in found for d in _compare(name, table[name], settings[name])]
        if apply_settings and differences:
            _apply(admin, differences)
            _wait_until_set(admin, differences)
    return CreateReport(tuple(missing), tuple(found), tuple(differences), apply_settings)


def describe(
    bootstrap: str, prefix: str, signals: Sequence[str], *, client: Mapping[str, Any] = {}
) -> tuple[TopicState, ...]:
    """Return every topic of the table as the broker has it; raises `UsageError`."""
    table = {prefix + spec.name: spec for spec in topic_table(signals)}
    with _admin(bootstrap, client) as admin:
        found = _found(admin, table)
        settings = _settings(admin, list(found))
    return tuple(
        TopicState(
            name=name,
            partitions=len(found[name]) if name in found else None,
            replicas=len(found[name][0]["replica_nodes"]) if name in found else 0,
            settings={key: settings.get(name, {}).get(key, "") for key in spec.settings},
            differences=tuple(_compare(name, spec, settings[name])) if name in found else (),
        )
        for name, spec in table.items()
    )


@contextmanager
def _admin(bootstrap: str, client: Mapping[str, Any]) -> Iterator[KafkaAdminClient]:
    try:
        # Half a minute, kafka-python's default, is long for "wrong address".
        settings = {"bootstrap_timeout_ms": 10_000, **client}
        admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","), **settings)
        try:
            yield admin
        finally:
            admin.close()
    except kafka.errors.KafkaError as error:
        raise UsageError(
            f"Kafka at {bootstrap}: {error or type(error).__name__}; is it up, and are the address"
            " and the credentials right?"
        ) from error


def _found(admin: KafkaAdminClient, table: Mapping[str, TopicSpec]) -> dict[str, Any]:
    """Return the partitions of those topics of the table that exist, in the table's order."""
    # Asking for all does not create any, whatever the broker's setting.
    exist = {topic["name"]: topic["partitions"] for topic in admin.describe_topics()}
    return {name: exist[name] for name in table if name in exist}


def _refuse_repartitioning(
    found: Mapping[str, Any], table: Mapping[str, TopicSpec], partitions: int, prefix: str
) -> None:
    wrong = [
        f"{name} {len(found[name])} instead of {table[name].count(partitions)}"
        for name in found
        if len(found[name]) != table[name].count(partitions)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UsageError(
            f"topics have another number of partitions: {', '.join(wrong[:3])}{more}. It is fixed"
            f" for the life of the prefix '{prefix}', since keys and offsets depend on it. To"
            " change it: create the topics under a new FEEDMILL_TOPIC_PREFIX, replay posts and"
            " engagements into it, and move the readers once its feeds are up to date"
        )


def _create(
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
        # Another `create` may have been quicker, by the same table.
        if (code := topic["error_code"]) not in (0, _TOPIC_EXISTS)
    ]
    if refused:
        raise UsageError(f"Kafka refuses to create {'; '.join(refused)}")
    admin.wait_for_topics(missing)


def _settings(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answer = admin.describe_configs(asked, config_filter="all")["topic"]
    return {
        name: {key: str(entry["value"]) for key, entry in entries.items()}
        for name, entries in answer.items()
    }


def _compare(
    name: str, spec: TopicSpec, settings: Mapping[str, str]
) -> Iterator[SettingDifference]:
    for setting, expected in spec.settings.items():
        found = settings.get(setting, "")
        if not _same(found, expected):
            yield SettingDifference(name, setting, found, expected)


def _same(found: str, expected: str) -> bool:
    # Kafka gives a list back in an order of its own.
    return sorted(found.split(",")) == sorted(expected.split(","))


def _apply(admin: KafkaAdminClient, differences: Sequence[SettingDifference]) -> None:
    wanted: dict[str, dict[str, str]] = {}
    for difference in differences:
        wanted.setdefault(difference.topic, {})[difference.setting] = difference.expected
    answer = admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, wanted[name]) for name in wanted]
    )
    refused = [f"`{name}`: {said}" for name, said in answer["topic"].items() if said != "OK"]
    if refused:
        raise UsageError(f"Kafka refuses to change {'; '.join(refused)}")


def _wait_until_set(admin: KafkaAdminClient, differences: Sequence[SettingDifference]) -> None:
    """Wait until the brokers follow: the controller answers before they do."""
    names = sorted({difference.topic for difference in differences})
    deadline = time.monotonic() + _SETTLED_S
    while True:
        settings = _settings(admin, names)
        late = [
            d for d in differences if not _same(settings[d.topic].get(d.setting, ""), d.expected)
        ]
        if not late:
            return
        if time.monotonic() > deadline:
            raise UsageError(
                f"{late[0].topic}: {late[0].setting} is still {late[0].found} after"
                f" {_SETTLED_S:.0f} s; run it again, and look at the broker's log"
            )
        time.sleep(0.1)
