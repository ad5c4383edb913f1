"""The consumer groups of workers as the brokers tell of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kafka.admin import KafkaAdminClient
from kafka.errors import CoordinatorLoadInProgressError

from feedmill.streams.kafka.assignment import POSTS
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.settings.environment import Environment

_WORKER, _ENGAGEMENTS = "worker", "engagements"
# So long a broker may read its groups after a start.
_LOADED_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.2


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

    Raises
    ------
    KafkaError
        If a broker cannot say; one that has just started is given half a minute.
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
        TopicPartition(environment.named(at.topic), at.partition): one.offset
        for at, one in committed.items()
    }
    members = tuple(_member(environment, one, offsets) for one in found["members"])
    texts = tuple(one.metadata.rstrip("\0") for one in committed.values())
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
