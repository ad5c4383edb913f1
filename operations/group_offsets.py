"""Sets where a group of workers goes on, while none of them runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from confluent_kafka import TopicPartition as GroupOffset
from kafka import TopicPartition as KafkaPartition
from kafka.admin import KafkaAdminClient, OffsetSpec

from feedmill.events.errors import UsageError
from feedmill.operations.changes import OFFSETS, Audited, Changes, MadeBy, open_changes
from feedmill.operations.worker_groups import Group, read_groups
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.offsets import Bounds
from feedmill.streams.kafka.topic_ids import INPUTS
from feedmill.streams.kafka.topic_reader import open_topic
from feedmill.streams.kafka.topics import open_admin
from feedmill.streams.settings.environment import Environment
from feedmill.streams.settings.instances import read_recent_instances

# The first record that is there, after the last, or an offset.
To = Literal["earliest", "latest"] | int


class Move(NamedTuple):
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
    counts = {one["name"]: len(one["partitions"]) for one in admin.describe_topics()}
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
) -> list[Move]:
    """Return what a group's offsets are and would be, for each of these partitions.

    Raises
    ------
    UsageError
        There is no such group or partition, workers do not go by the group's offset in it, or it
        has no such offset.
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
    return [Move(at, offsets.get(at), _offset_of(to, bounds[at])) for at in places]


def reset_offsets(
    environment: Environment,
    group: str,
    places: Sequence[TopicPartition],
    to: To,
    made_by: MadeBy,
    now_ms: int,
) -> list[Move]:
    """Have a group go on elsewhere in some partitions, in all or in none; return what was moved.

    Raises
    ------
    UsageError
        As `plan_moves`; or a worker of the group runs, or Kafka refuses.
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
    changes: Changes,
    group: str,
    moves: Sequence[Move],
) -> None:
    """Commit offsets without the text beside them, which is about what was read before."""
    name = environment.group(group)
    # It joined since it was asked who is there: a transaction would be taken from it all the same.
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
    return any(one.group == name for one in recent.values())


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
