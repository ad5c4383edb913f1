"""Has groups go on after a topic was deleted, made anew or cut off: for `feedmill topics reset`.

Offsets, signals and counts are about the records of one topic (`topic_ids`).  Where it is another
one, what was made of `posts` and `engagements` is deleted, and the groups read from the beginning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import KafkaException

from feedmill.events.errors import UsageError
from feedmill.operations.changes import TOPIC_EXISTS, Audited, MadeBy, open_changes
from feedmill.operations.worker_groups import (
    OffsetMove,
    bounds_of,
    commit_moves,
    known_group,
    refuse_members,
    worker_groups,
)
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.topic_ids import ANCHORS, INPUTS, ids_beside
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS, topic_table
from feedmill.streams.kafka.topics import create, describe, open_admin

_ANSWER_S = 30.0
_LOOK_EVERY_S = 0.2
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
