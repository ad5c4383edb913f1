"""The consumer groups of workers as the brokers tell of them, and where a group is to go on.

The offsets of a group are set while none of its workers runs.  `feedmill topics reset` has groups
go on after a topic was deleted, made anew or cut off: offsets, signals and counts are about the
records of one topic (`topic_ids`).  Where it is another one, what was made of `posts` and
`engagements` is deleted, and the groups read from the beginning.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as GroupOffset
from kafka import TopicPartition as KafkaPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import CoordinatorLoadInProgressError

from feedmill.events.errors import UsageError
from feedmill.operations.changes import (
    OFFSETS,
    TOPIC_EXISTS,
    Audited,
    AuditedChanges,
    MadeBy,
    open_changes,
)
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import POSTS
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.offsets import Bounds
from feedmill.streams.kafka.topic_ids import ANCHORS, INPUTS, ids_beside
from feedmill.streams.kafka.topic_reader import open_topic
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS, topic_table
from feedmill.streams.kafka.topics import create, describe, open_admin
from feedmill.streams.settings.instances import read_recent_instances

_WORKER, _ENGAGEMENTS = "worker", "engagements"
# So long a broker may read its groups after a start.
_LOADED_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.2

# The first record that is there, after the last, or an offset.
To = Literal["earliest", "latest"] | int


@dataclass(frozen=True)
class Member:
    """A member of a group, and the partitions that it reads; topics without the prefix.

    Kafka gives it those of `posts` and `feed-shards`.  A worker that counts engagements reads the
    same numbers of `engagements` beside its posts.
    """

    client_id: str
    host: str
    partitions: frozenset[TopicPartition]

    def numbers(self, topic: str) -> list[int]:
        """Return the partitions of a topic that it reads, in order."""
        return sorted(at.partition for at in self.partitions if at.topic == topic)


@dataclass(frozen=True)
class Group:
    """A consumer group of workers; topics without the prefix.

    Attributes
    ----------
    state
        As Kafka calls it: Stable, Empty, …
    offsets, texts
        What it committed by partition, and the texts beside these offsets.
    """

    state: str
    members: tuple[Member, ...]
    offsets: Mapping[TopicPartition, int]
    texts: tuple[str, ...]


def worker_groups(environment: Environment, admin: KafkaAdminClient) -> list[str]:
    """Return the full names of the groups that judge or rank, in order.

    Raises `KafkaError`: if a broker cannot say; one that has just started is given half a minute.
    """
    prefix = environment.group(_WORKER)
    end = time.monotonic() + _LOADED_WITHIN_S
    while True:
        try:
            names = sorted(str(group["group_id"]) for group in admin.list_groups())
            return [name for name in names if name == prefix or name.startswith(f"{prefix}-")]
        except CoordinatorLoadInProgressError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOOK_EVERY_S)


def read_groups(environment: Environment, admin: KafkaAdminClient) -> dict[str, Group]:
    """Return the groups of workers by their names without the prefix.

    Raises what `worker_groups` raises.
    """
    named = worker_groups(environment, admin)
    if not named:
        return {}
    offsets = admin.list_group_offsets(named)
    return {
        environment.named(name): _group(environment, found, offsets[name])
        for name, found in admin.describe_groups(named).items()
    }


def _group(
    environment: Environment, found: Mapping[str, Any], committed: Mapping[Any, Any]
) -> Group:
    offsets = {
        TopicPartition(environment.named(at.topic), at.partition): committed_at.offset
        for at, committed_at in committed.items()
    }
    members = tuple(_member(environment, member, offsets) for member in found["members"])
    texts = tuple(offset.metadata.rstrip("\0") for offset in committed.values())
    return Group(found["group_state"], members, offsets, texts)


def _member(
    environment: Environment, found: Mapping[str, Any], committed: Collection[TopicPartition]
) -> Member:
    assignment = found["member_assignment"]
    parts = assignment["assigned_partitions"] if isinstance(assignment, dict) else ()
    own = frozenset(
        TopicPartition(environment.named(part["topic"]), number)
        for part in parts
        for number in part["partitions"]
    )
    beside = {TopicPartition(_ENGAGEMENTS, at.partition) for at in own if at.topic == POSTS}
    counted = beside.intersection(committed)
    return Member(found["client_id"], found["client_host"].lstrip("/"), own | counted)


class OffsetMove(NamedTuple):
    """Where a group stood in a partition, None for nowhere, and where it goes on."""

    at: TopicPartition
    before: int | None
    after: int


def known_group(environment: Environment, admin: KafkaAdminClient, name: str) -> Group:
    """Return a group of workers by its name without the prefix; `UsageError` for none."""
    groups = read_groups(environment, admin)
    if name not in groups:
        known = ", ".join(groups) or "none: no worker has run yet"
        raise UsageError(
            f"Kafka at {environment.kafka} has no group `{environment.group(name)}` of workers;"
            f" there are: {known}"
        )
    return groups[name]


def bounds_of(
    environment: Environment, admin: KafkaAdminClient, places: Iterable[TopicPartition]
) -> dict[TopicPartition, Bounds]:
    """Return where partitions begin and end; those that do not exist are left out."""
    counts = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
    asked = {
        KafkaPartition(environment.topic(at.topic), at.partition): at
        for at in places
        if at.partition < counts.get(environment.topic(at.topic), 0)
    }
    if not asked:
        return {}
    first, end = (
        admin.list_partition_offsets(dict.fromkeys(asked, spec))
        for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
    )
    return {at: Bounds(first[name].offset, end[name].offset) for name, at in asked.items()}


def plan_moves(
    environment: Environment,
    admin: KafkaAdminClient,
    group: str,
    places: Sequence[TopicPartition],
    to: To,
) -> list[OffsetMove]:
    """Return what a group's offsets are and would be, for each of these partitions.

    Raises `UsageError`: there is no such group or partition, workers do not go by the group's
    offset in it, or it has no such offset.
    """
    offsets = known_group(environment, admin, group).offsets
    bounds = bounds_of(environment, admin, places)
    for at in places:
        name = f"{environment.topic(at.topic)}[{at.partition}]"
        if at.topic not in INPUTS:
            raise UsageError(
                f"no worker goes by an offset of its group in `{at.topic}`: expected one of"
                f" {', '.join(INPUTS)}"
            )
        if at not in bounds:
            raise UsageError(
                f"Kafka at {environment.kafka} has no partition {name}; `feedmill topics describe`"
                " lists topics and partitions"
            )
        first, end = bounds[at]
        if isinstance(to, int) and not first <= to <= end:
            raise UsageError(
                f"{name} has the offsets {first} to {end}, got --to {to}; earliest and latest"
                " stand for these two"
            )
    return [OffsetMove(at, offsets.get(at), _offset_of(to, bounds[at])) for at in places]


def reset_offsets(
    environment: Environment,
    group: str,
    places: Sequence[TopicPartition],
    to: To,
    made_by: MadeBy,
    now_ms: int,
) -> list[OffsetMove]:
    """Have a group go on elsewhere in some partitions, in all or in none; return what was moved.

    Raises `UsageError`: as `plan_moves`; or a worker of the group runs, or Kafka refuses.
    """
    with open_admin(environment.kafka, environment.security) as admin:
        moves = plan_moves(environment, admin, group, places, to)
        refuse_members(environment, admin, group, now_ms)
        with open_changes(environment, made_by) as changes:
            commit_moves(environment, admin, changes, group, moves)
    return moves


def commit_moves(
    environment: Environment,
    admin: KafkaAdminClient,
    changes: AuditedChanges,
    group: str,
    moves: Sequence[OffsetMove],
) -> None:
    """Commit offsets without the text beside them, which is about what was read before."""
    name = environment.group(group)
    # A worker may have joined after the group was described; Kafka takes a transaction even then.
    if not _takes_offsets(admin, name):
        raise UsageError(_members_text(name, 0))
    with changes.transaction():
        changes.move_group(
            group,
            [GroupOffset(environment.topic(at.topic), at.partition, to) for at, _, to in moves],
        )
        changes.audit(
            Audited(
                OFFSETS,
                key=group,
                before=_by_place({m.at: m.before for m in moves if m.before is not None}),
                after=_by_place({m.at: m.after for m in moves}),
            )
        )


def refuse_members(
    environment: Environment, admin: KafkaAdminClient, group: str, now_ms: int
) -> None:
    """Raise `UsageError` where a worker of a group runs, or is about to join it."""
    name = environment.group(group)
    members = len(admin.describe_groups([name])[name]["members"])
    if members or _is_starting(environment, name, now_ms) or not _takes_offsets(admin, name):
        raise UsageError(_members_text(name, members))


def _offset_of(to: To, bounds: Bounds) -> int:
    if isinstance(to, int):
        return to
    return bounds.first if to == "earliest" else bounds.end


def _by_place(offsets: Mapping[TopicPartition, int]) -> dict[str, int]:
    """Return offsets by `TOPIC:N`, as commands name partitions."""
    return {f"{at.topic}:{at.partition}": offset for at, offset in offsets.items()}


def _is_starting(environment: Environment, name: str, now_ms: int) -> bool:
    """Return whether a worker of a group says on `instances` that it runs: it joins later."""
    try:
        with open_topic(environment, "instances") as reader:
            recent = read_recent_instances(reader, now_ms)
    except UsageError:
        # That topic is missing, too.
        return False
    return any(instance.group == name for instance in recent.values())


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


_ANSWER_S = 30.0
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

    Raises `UsageError`: Kafka cannot be reached, or does not answer.
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

    Raises `UsageError`: a worker of the groups runs, there is no topic for the audit, or Kafka
    refuses.
    """
    with (
        open_admin(environment.kafka, environment.security) as admin,
        open_changes(environment, made_by) as changes,
    ):
        for group in plan.groups:
            refuse_members(environment, admin, group, now_ms)
        changes.announce(
            *(Audited(name, before=TOPIC_EXISTS) for name in plan.deleted),
            *(Audited(name, after=TOPIC_EXISTS) for name in plan.created),
        )
        if plan.deleted:
            admin.delete_topics([environment.topic(name) for name in plan.deleted])
        _create(environment, plan)
        for group in plan.groups:
            offsets = known_group(environment, admin, group).offsets
            bounds = bounds_of(environment, admin, offsets)
            moves = [OffsetMove(at, offsets[at], first) for at, (first, _) in bounds.items()]
            commit_moves(environment, admin, changes, group, moves)


def _create(environment: Environment, plan: ResetPlan) -> None:
    """Create what a plan says; a broker has a topic for a moment after it was deleted."""
    left, end = set(plan.created), time.monotonic() + _ANSWER_S
    while left:
        report = create(
            environment.kafka,
            environment.topic_prefix,
            plan.partitions,
            environment.signals.all,
            client=environment.security,
        )
        left.difference_update(map(environment.named, report.created))
        if left and time.monotonic() > end:
            raise UsageError(
                f"Kafka at {environment.kafka} still has topics that were deleted,"
                f" {', '.join(sorted(left))}: run the command again"
            )
        if left:
            time.sleep(_LOOK_EVERY_S)


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
