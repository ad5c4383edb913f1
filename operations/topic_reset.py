"""Has groups go on after a topic was deleted, made anew or cut off: for `feedmill topics reset`.

Offsets, signals and counts are about the records of one topic (`topic_ids`).  Where it is another
one, what was made of `posts` and `engagements` is deleted, and the groups read from the beginning.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as GroupOffset
from kafka import TopicPartition as KafkaPartition
from kafka.admin import KafkaAdminClient, OffsetSpec

from feedmill.events.decode import decode_instance
from feedmill.events.errors import BadEvent, UsageError
from feedmill.operations.changes import (
    OFFSETS,
    TOPIC_EXISTS,
    Audited,
    Changes,
    MadeBy,
    open_changes,
)
from feedmill.operations.worker_groups import worker_groups
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.topic_ids import ANCHORS, INPUTS, ids_beside
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS, topic_table
from feedmill.streams.kafka.topics import create, describe, open_admin
from feedmill.streams.settings.environment import Environment
from feedmill.streams.settings.instances import RECENT_MS

To = Literal["earliest", "latest"]

_ANSWER_S = 30.0
_INSTANCES = "instances"
# What is made of the inputs, beside the signals.
_DERIVED = ("counters", "features", "poison")


@dataclass(frozen=True)
class ResetPlan:
    """What a reset is to do; topics and groups without the prefix.

    Attributes
    ----------
    groups
        Those that read the former topics.
    changed
        By topic whether it was made anew; False for one that is missing.
    deleted
        What was made of former records and is to be deleted.
    created
        What is to be created.
    partitions
        How many partitions the topics have that have "P" of them.
    """

    groups: tuple[str, ...]
    changed: Mapping[str, bool]
    deleted: tuple[str, ...]
    created: tuple[str, ...]
    partitions: int


def plan_reset(environment: Environment) -> ResetPlan:
    """Compare the topics with those that the groups of workers have read.

    Raises
    ------
    UsageError
        Kafka cannot be reached, or does not answer.
    """
    signals = environment.signals.all
    known = _known_ids(environment)
    states = describe(
        environment.kafka, environment.topic_prefix, signals, client=environment.security
    )
    there = {environment.named(state.name): state.partitions for state in states}
    present = _present_ids(environment, sorted({name for ids in known.values() for name in ids}))
    changed: dict[str, bool] = {}
    groups = []
    for group, ids in known.items():
        other = {name: name in present for name in ids if present.get(name) != ids[name]}
        changed |= other
        groups += [group] if other else []
    derived = [name for name in there if name.startswith("signals.") or name in _DERIVED]
    deleted = [name for name in derived if there[name] and changed.keys() & set(INPUTS) and groups]
    missing = [name for name, count in there.items() if count is None]
    counts = [there[spec.name] for spec in topic_table(signals) if spec.partitions == "P"]
    partitions = next((count for count in counts if count), DEFAULT_PARTITIONS)
    return ResetPlan(tuple(groups), changed, tuple(deleted), (*deleted, *missing), partitions)


def reset(environment: Environment, plan: ResetPlan, made_by: MadeBy, now_ms: int) -> None:
    """Do what a plan says; what was interrupted, the same command completes.

    To delete and create topics is no part of a transaction: the audit says it before it is done.

    Raises
    ------
    UsageError
        A worker of the groups runs, there is no topic for the audit, or Kafka refuses.
    """
    with (
        open_admin(environment.kafka, environment.security) as admin,
        open_changes(environment, made_by) as changes,
    ):
        for group in plan.groups:
            _refuse_members(environment, admin, group, now_ms)
        changes.announce(
            *(Audited(name, before=TOPIC_EXISTS) for name in plan.deleted),
            *(Audited(name, after=TOPIC_EXISTS) for name in plan.created),
        )
        if plan.deleted:
            admin.delete_topics([environment.topic(name) for name in plan.deleted])
        create(
            environment.kafka,
            environment.topic_prefix,
            plan.partitions,
            environment.signals.all,
            client=environment.security,
        )
        for group in plan.groups:
            name = environment.group(group)
            committed = list(admin.list_group_offsets([name])[name])
            _move(environment, admin, changes, group, committed, "earliest")


def move(  # noqa: PLR0913 - what, whereto, and who says so
    environment: Environment,
    group: str,
    topic: str,
    partition: int,
    *,
    to: To,
    made_by: MadeBy,
    now_ms: int,
) -> int:
    """Have a group go on in one partition from the first or after the last record; return where.

    Raises
    ------
    UsageError
        A worker of the group runs, there is no such partition, or Kafka refuses.
    """
    at = KafkaPartition(environment.topic(topic), partition)
    with open_admin(environment.kafka, environment.security) as admin:
        topics = {one["name"]: len(one["partitions"]) for one in admin.describe_topics()}
        if partition >= topics.get(at.topic, 0):
            raise UsageError(
                f"Kafka at {environment.kafka} has no partition {at.topic}[{partition}]; `feedmill"
                " topics describe` lists topics and partitions"
            )
        _refuse_members(environment, admin, group, now_ms)
        with open_changes(environment, made_by) as changes:
            return _move(environment, admin, changes, group, [at], to)[at]


def _move(
    environment: Environment,
    admin: KafkaAdminClient,
    changes: Changes,
    group: str,
    partitions: Sequence[KafkaPartition],
    to: To,
) -> dict[KafkaPartition, int]:
    """Commit offsets without the text beside them, which is about what was read before."""
    spec = OffsetSpec.EARLIEST if to == "earliest" else OffsetSpec.LATEST
    topics = {one["name"] for one in admin.describe_topics()}
    there = [at for at in partitions if at.topic in topics]
    found = admin.list_partition_offsets(dict.fromkeys(there, spec))
    offsets = {at: found[at].offset for at in there}
    name = environment.group(group)
    # It joined since it was asked who is there: a transaction would be taken from it all the same.
    if not _takes_offsets(admin, name):
        raise UsageError(_members_text(name, 0))
    committed = {at: one.offset for at, one in admin.list_group_offsets([name])[name].items()}
    before = {at: committed[at] for at in there if at in committed}
    with changes.transaction():
        changes.move_group(group, [GroupOffset(*at, offset) for at, offset in offsets.items()])
        changes.audit(
            Audited(
                OFFSETS,
                key=group,
                before=_by_place(environment, before),
                after=_by_place(environment, offsets),
            )
        )
    return offsets


def _by_place(environment: Environment, offsets: Mapping[KafkaPartition, int]) -> dict[str, int]:
    """Return offsets by `TOPIC:N`, as commands name partitions."""
    return {
        f"{environment.named(at.topic)}:{at.partition}": offset for at, offset in offsets.items()
    }


def _known_ids(environment: Environment) -> dict[str, dict[str, str]]:
    """Return by group of workers the ids of the topics that it has read."""
    with open_admin(environment.kafka, environment.security) as admin:
        named = worker_groups(environment, admin)
    groups = [name.removeprefix(environment.topic_prefix) for name in named]
    with closing(Connection(environment)) as connection:
        asked = {group: connection.offsets.committed(group, ANCHORS) for group in groups}
        try:
            return {group: ids_beside(asked[group].result(_ANSWER_S)) for group in groups}
        except (KafkaException, TimeoutError) as error:
            raise UsageError(
                f"Kafka at {environment.kafka}: {error}; is a worker in the middle of a commit?"
                " Stop all workers, and run the command again"
            ) from error


def _present_ids(environment: Environment, topics: Sequence[str]) -> dict[str, str]:
    with closing(Connection(environment)) as connection:
        try:
            return connection.offsets.topic_ids(topics).result(_ANSWER_S)
        except (KafkaException, TimeoutError) as error:
            raise UsageError(f"Kafka at {environment.kafka}: {error}; start it") from error


def _refuse_members(
    environment: Environment, admin: KafkaAdminClient, group: str, now_ms: int
) -> None:
    name = environment.group(group)
    members = len(admin.describe_groups([name])[name]["members"])
    if members or _is_starting(environment, name, now_ms) or not _takes_offsets(admin, name):
        raise UsageError(_members_text(name, members))


def _is_starting(environment: Environment, name: str, now_ms: int) -> bool:
    """Return whether a worker of a group says on `instances` that it runs: it joins later."""
    try:
        newest = {record.key: record for record in read_all(environment, _INSTANCES)}
    except UsageError:
        # That topic is missing, too.
        return False
    recent = [one for one in newest.values() if one.at_ms > now_ms - RECENT_MS]
    return any(_group_of(record.value) == name for record in recent)


def _group_of(value: bytes | None) -> str:
    try:
        return decode_instance(value).group if value else ""
    except BadEvent:
        return ""


def _members_text(group: str, members: int) -> str:
    return (
        f"the group {group} has {members or 'new'} members: stop all workers first; one that was"
        " killed, or has a FEEDMILL_INSTANCE, counts until its session ends:"
        " FEEDMILL_SESSION_TIMEOUT_MS later"
    )


def _takes_offsets(admin: KafkaAdminClient, name: str) -> bool:
    """Commit one offset of a group as it is: Kafka refuses that while a member is about to join."""
    committed = admin.list_group_offsets([name])[name]
    some = dict(itertools.islice(committed.items(), 1))
    return not any(error.errno for error in admin.alter_group_offsets(name, some).values())
