"""Which rights each role needs in Kafka and Redis: the one table, and how each server grants them.

`feedmill acls print` prints it, `feedmill doctor --role` compares it with what a user may do, and
the tests of a secured stack run every role with these rights alone.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from feedmill.events.built_in import BUILT_IN_GATES
from feedmill.events.signal import SignalNames, stage_of
from feedmill.streams.kafka.topic_table import KEPT, topic_table

COMBINER, ENGAGEMENT_STAGE = "combiner", "engagement"
_OF_ENGAGEMENT = {"engagements", "counters", "features"}
Kind = Literal["topic", "group", "transactional-id", "cluster"]
CLUSTER = "kafka-cluster"


@dataclass(frozen=True)
class KafkaRight:
    """One operation on a resource, named without the installation's prefix.

    `is_prefix`: on every resource whose name begins so. `at_faults`: used only where something is
    wrong, such as a record that becomes a dead letter.
    """

    kind: Kind
    name: str
    operation: str
    is_prefix: bool = False
    at_faults: bool = False

    def full_name(self, prefix: str) -> str:
        """The name with the installation's prefix."""
        return CLUSTER if self.kind == "cluster" else prefix + self.name


@dataclass(frozen=True)
class RedisRights:
    """What a user may do in Redis: commands, patterns of keys by access, and channels."""

    commands: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]]
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rights:
    """What a role needs; `redis` is None where it never connects to Redis."""

    kafka: tuple[KafkaRight, ...]
    redis: RedisRights | None = None


@dataclass(frozen=True)
class _Role:
    """Topics are named as in the table of topics; `signals.*` stands for every declared signal."""

    reads: Sequence[str] = ()
    writes: Sequence[str] = ()
    at_faults: Sequence[str] = ()
    describes: Sequence[str] = ()
    others: Sequence[KafkaRight] = ()
    redis: RedisRights | None = None


# What the writer and its scripts call; a script may call what its user may.
WRITER_COMMANDS = (
    *("evalsha", "script|load", "publish", "set", "get", "exists", "del", "pexpireat", "rename"),
    *("zadd", "zrem", "zcard", "zcount", "zrange", "zrangebyscore", "zscore"),
    *("hset", "hsetnx", "hdel", "hget", "hkeys", "hlen", "hmget"),
)
_WRITER = RedisRights(
    tuple(name for name in WRITER_COMMANDS if name != "hget"),
    {"RW": ("feed:*", "feeds", "signals:*", "tombstone:*", "flush-marker:*")},
    ("feed-changes",),
)
_FRONTEND = RedisRights(
    ("zrange", "zrevrange", "zscore", "zcard", "hget", "hgetall", "hmget", "exists", "multi",
     "exec", "subscribe", "unsubscribe", "ping"),
    {"R": ("feed:*",)},
    ("feed-changes",),
)  # fmt: skip
_VIEWER = RedisRights(
    ("zrange", "zscore", "zcard", "zrevrange", "zrevrank", "hgetall", "hmget", "hget",
     "exists", "type", "multi", "exec", "echo", "info", "time", "config|get", "acl|whoami",
     "acl|dryrun", "ping"),
    {"R": ("feed:*", "feeds", "signals:*", "tombstone:*")},
)  # fmt: skip

_LOOKS = (
    *(KafkaRight("cluster", "", name) for name in ("Describe", "DescribeConfigs")),
    KafkaRight("group", "worker", "Describe", is_prefix=True),
    KafkaRight("topic", "", "DescribeConfigs", is_prefix=True),
)
_OWN_GROUP = (
    KafkaRight("group", "worker", "Read", is_prefix=True),
    KafkaRight("transactional-id", "worker", "Write", is_prefix=True),
)
_CHANGES = (KafkaRight("transactional-id", "change-", "Write", is_prefix=True),)
_OF_FILTERS = tuple(f"signals.{name}" for name in BUILT_IN_GATES)
_SCORED_BY_MODELS = (*_OF_FILTERS, "signals.quality", "signals.engagement")
_STATE = ("config", "models", "overrides", "poison", "posts", "instances")
_JUDGE = _Role(
    reads=(*_STATE, "engagements", "counters"),
    writes=("counters", "features", "instances", "signals.*"),
    at_faults=("dead-letters", "poison", "models", "shadow"),
    describes=("feed-shards", "signals.*"),
    others=_OWN_GROUP,
)
_RANKER = _Role(
    reads=(*_STATE, "signals.*", "feed-shards"),
    writes=("feed-shards", "instances"),
    at_faults=("dead-letters",),
    describes=("counters", "engagements"),
    others=_OWN_GROUP,
    redis=_WRITER,
)
_ALL = ("*",)
ROLES: Mapping[str, _Role] = {
    "judge": _JUDGE,
    "ranker": _RANKER,
    "worker": _Role(
        reads=(*_JUDGE.reads, "signals.*", "feed-shards"),
        writes=(*_JUDGE.writes, "feed-shards"),
        at_faults=_JUDGE.at_faults,
        others=_OWN_GROUP,
        redis=_WRITER,
    ),
    "watch": _Role(
        reads=("config", "instances", "engagements", "posts", *_SCORED_BY_MODELS),
        writes=("instances",),
    ),
    "own-signal": _Role(
        reads=("posts",),
        writes=("instances", "signals.{signal}"),
        describes=("config",),
        others=(KafkaRight("group", "signals.{signal}", "Read"),),
    ),
    "exporter": _Role(
        reads=("config", "engagements", "exposures", "models", "signals.quality"),
        at_faults=("dead-letters",),
    ),
    "trainer": _Role(
        reads=("posts", "engagements", "labels", "features", "models", "config", "instances",
               *_OF_FILTERS),
        writes=("models", "audit"),
        others=_CHANGES,
    ),
    "operator": _Role(
        reads=_ALL,
        writes=("audit", "config", "models"),
        others=(*_CHANGES, *_LOOKS),
        redis=_VIEWER,
    ),
    "console": _Role(
        reads=_ALL,
        writes=("audit", "config", "labels", "models", "overrides"),
        others=(*_CHANGES, *_LOOKS),
        redis=_VIEWER,
    ),
    "reader": _Role(
        reads=("config", "instances", "overrides", "posts", "signals.*"),
        writes=("instances",),
    ),
    "moderator": _Role(
        reads=("overrides",),
        writes=("audit", "overrides"),
        others=_CHANGES,
        redis=RedisRights(("hgetall", "ping"), {"R": ("signals:*",)}),
    ),
    "viewer": _Role(reads=_ALL, others=_LOOKS, redis=_VIEWER),
    "installer": _Role(
        writes=("audit",),
        describes=_ALL,
        others=(
            *_CHANGES,
            *(
                KafkaRight("topic", "", name, is_prefix=True)
                for name in ("Create", "DescribeConfigs", "AlterConfigs")
            ),
        ),
    ),
    "backup": _Role(reads=KEPT),
    "restore": _Role(
        writes=KEPT,
        describes=_ALL,
        others=(
            *_CHANGES,
            KafkaRight("transactional-id", "restore", "Write"),
            *(KafkaRight("topic", name, "AlterConfigs") for name in KEPT),
            # Where it is to be restored somebody wrote, or an earlier restore broke off.
            KafkaRight("topic", "", "Read", is_prefix=True, at_faults=True),
        ),
    ),
    "producer": _Role(writes=("posts", "engagements")),
    "frontend": _Role(at_faults=("exposures",), redis=_FRONTEND),
    "autoscaler": _Role(
        describes=("posts", "engagements"),
        others=(KafkaRight("group", "worker", "Describe"),),
    ),
}  # fmt: skip


def rights_of(role: str, signals: SignalNames, signal: str = "<signal>") -> Rights:
    """Return what a role needs where these signals are declared; `signal` is an own one's name."""
    one = ROLES[role]

    def named(names: Sequence[str], without: Sequence[str] = ()) -> Iterator[str]:
        for name in names:
            if name == "*":
                yield from (spec.name for spec in topic_table(signals.all))
            elif name == "signals.*":
                yield from (f"signals.{each}" for each in signals.all if each not in without)
            else:
                yield name.format(signal=signal)

    found = {
        **dict.fromkeys(KafkaRight("topic", name, "Read") for name in named(one.reads)),
        **dict.fromkeys(KafkaRight("topic", n, "Write") for n in named(one.writes, signals.own)),
    }
    sure = {right.name: right for right in found}
    rest = [KafkaRight("topic", n, "Describe") for n in named(one.describes) if n not in sure]
    faults = [
        KafkaRight("topic", name, "Write", at_faults=True)
        for name in named(one.at_faults)
        if KafkaRight("topic", name, "Write") not in found
    ]
    others = [replace(right, name=right.name.format(signal=signal)) for right in one.others]
    return Rights((*found, *rest, *faults, *others), one.redis)


def needed_topics(stages: Collection[str], signals: SignalNames) -> tuple[KafkaRight, ...]:
    """Return the rights on topics that a worker of these stages needs, of its role's."""
    ranks, judges = COMBINER in stages, any(stage != COMBINER for stage in stages)
    role = "worker" if ranks and judges else "ranker" if ranks else "judge"
    unused = set() if ENGAGEMENT_STAGE in stages or not judges else _OF_ENGAGEMENT
    return tuple(
        right
        for right in rights_of(role, signals).kafka
        if right.kind == "topic"
        and right.name not in unused
        and (right.operation != "Write" or _writes(right.name, stages))
    )


def _writes(topic: str, stages: Collection[str]) -> bool:
    signal = topic.removeprefix("signals.")
    return signal == topic or stage_of(signal) in stages


def redis_rules(rights: RedisRights, prefix: str) -> list[str]:
    """Return the rules of `ACL SETUSER` that give these rights."""
    keys = [
        f"%{access}~{prefix}{pattern}"
        for access, patterns in rights.keys.items()
        for pattern in patterns
    ]
    return [
        *keys,
        *(f"&{prefix}{channel}" for channel in rights.channels),
        *(f"+{command}" for command in rights.commands),
    ]


def kafka_acls(
    rights: Sequence[KafkaRight], principal: str, prefix: str, servers: str
) -> list[str]:
    """Return commands of Kafka's own tool, one for each resource."""
    lines = []
    for (kind, name, is_prefix), operations in _by_resource(rights, prefix).items():
        words = ["kafka-acls.sh", "--bootstrap-server", servers]
        words += ["--command-config", "admin.properties", "--add", "--allow-principal", principal]
        words += [word for operation in operations for word in ("--operation", operation)]
        # An empty name with `prefixed` is every topic: Kafka's tool calls that `*`.
        every = is_prefix and not name
        words += ["--cluster"] if kind == "cluster" else [f"--{kind}", "*" if every else name]
        if is_prefix and not every:
            words += ["--resource-pattern-type", "prefixed"]
        lines.append(shlex.join(words))
    return lines


def strimzi(rights: Sequence[KafkaRight], user: str, prefix: str) -> str:
    """Return the manifest of a `KafkaUser` as JSON, which YAML's readers take."""
    names = {"transactional-id": "transactionalId"}
    acls: list[dict[str, Any]] = []
    for (kind, name, is_prefix), operations in _by_resource(rights, prefix).items():
        resource: dict[str, Any] = {"type": names.get(kind, kind)}
        if kind != "cluster":
            every = is_prefix and not name
            resource["name"] = "*" if every else name
            resource["patternType"] = "prefix" if is_prefix and not every else "literal"
        acls.append({"resource": resource, "operations": operations, "host": "*"})
    manifest = {
        "apiVersion": "kafka.strimzi.io/v1beta2",
        "kind": "KafkaUser",
        "metadata": {"name": user},
        "spec": {"authorization": {"type": "simple", "acls": acls}},
    }
    return json.dumps(manifest, indent=2)


def as_json(rights: Rights, principal: str, prefix: str, redis_prefix: str) -> dict[str, Any]:
    """Return the rights for programs."""
    kafka = [{**asdict(one), "name": one.full_name(prefix)} for one in rights.kafka]
    redis = None if rights.redis is None else redis_rules(rights.redis, redis_prefix)
    return {"principal": principal, "kafka": kafka, "redis": redis}


def _by_resource(
    rights: Sequence[KafkaRight], prefix: str
) -> dict[tuple[str, str, bool], list[str]]:
    found: dict[tuple[str, str, bool], list[str]] = {}
    for one in rights:
        place = one.kind, one.full_name(prefix), one.is_prefix
        found.setdefault(place, []).append(one.operation)
    return found
