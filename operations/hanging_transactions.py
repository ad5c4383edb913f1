"""Finds and ends transactions that never end by themselves: for `feedmill topics abort-hanging`.

One has records in a partition, and the coordinator knows nothing of it there: it has ended that
transaction already, and the partition's marker was lost (`hanging`).  Readers of what is committed
wait behind it until the same worker writes to that partition again, or until it is aborted here.
"""

from __future__ import annotations

from typing import NamedTuple

from kafka import TopicPartition as KafkaPartition
from kafka.admin import AbortTransactionSpec, KafkaAdminClient

from feedmill.operations.worker_groups import worker_groups
from feedmill.streams.kafka.topic_table import topic_table
from feedmill.streams.kafka.topics import open_admin
from feedmill.streams.settings.environment import Environment

# Markers of a transaction that just ended may be under way.
_QUIET_MS = 60_000
_OFFSETS = "__consumer_offsets"


class OpenTransaction(NamedTuple):
    """Where one stands, since which offset, when it wrote last, who wrote it, and if it hangs."""

    topic: str
    partition: int
    offset: int
    wrote_at_ms: int
    producer_id: int
    producer_epoch: int
    is_hanging: bool


def find_hanging(environment: Environment, now_ms: int) -> list[OpenTransaction]:
    """Return those in the topics of an installation, and in the offsets of its workers' groups.

    Raises
    ------
    UsageError
        Kafka cannot be reached.
    """
    with open_admin(environment.kafka, environment.security) as admin:
        return [one for one in find_open(environment, admin, now_ms) if one.is_hanging]


def find_open(
    environment: Environment, admin: KafkaAdminClient, now_ms: int
) -> list[OpenTransaction]:
    """Return those that are open there and wrote nothing for a minute, whether they hang or not."""
    counts = {one["name"]: len(one["partitions"]) for one in admin.describe_topics()}
    named = [environment.topic(spec.name) for spec in topic_table(environment.signals.all)]
    places = {KafkaPartition(name, n) for name in named for n in range(counts.get(name, 0))}
    if offsets := counts.get(_OFFSETS, 0):
        places |= {
            KafkaPartition(_OFFSETS, offsets_partition(name, offsets))
            for name in worker_groups(environment, admin)
        }
    quiet = [
        (at, one)
        for at, state in sorted(admin.describe_producers(sorted(places)).items())
        for one in state.active_producers
        if one.current_transaction_start_offset >= 0 and one.last_timestamp <= now_ms - _QUIET_MS
    ]
    known = _known_places(admin, {one.producer_id for _, one in quiet}) if quiet else set()
    return [
        OpenTransaction(
            *(at.topic, at.partition, one.current_transaction_start_offset, one.last_timestamp),
            *(one.producer_id, one.producer_epoch),
            (one.producer_id, at.topic, at.partition) not in known,
        )
        for at, one in quiet
    ]


def abort(environment: Environment, transactions: list[OpenTransaction]) -> None:
    """Write the marker that is missing, which says that the records do not count."""
    with open_admin(environment.kafka, environment.security) as admin:
        for one in transactions:
            at = KafkaPartition(one.topic, one.partition)
            admin.abort_transaction(AbortTransactionSpec(at, one.producer_id, one.producer_epoch))


def _known_places(admin: KafkaAdminClient, producer_ids: set[int]) -> set[tuple[int, str, int]]:
    """Return the partitions in which the coordinators know an open transaction, by producer."""
    listed = admin.list_transactions(producer_id_filters=sorted(producer_ids)).values()
    names = sorted({one.transactional_id for of_broker in listed for one in of_broker})
    described = admin.describe_transactions(names).values() if names else ()
    return {(one.producer_id, *at) for one in described for at in one.topic_partitions}


def offsets_partition(group: str, partitions: int) -> int:
    """Return the partition in which Kafka keeps the offsets of a group: by Java's hash."""
    found = 0
    for letter in group.encode():  # ASCII: as topics, groups are called by letters and digits
        found = (31 * found + letter) & 0xFFFFFFFF
    # Java's hash has a sign, and Kafka takes its absolute value.
    return min(found, 2**32 - found) % partitions
