"""Finds and ends transactions that never end by themselves: for `feedmill topics abort-hanging`.

A hanging transaction has records in a partition, and the coordinator knows nothing of it there: the
coordinator has ended that transaction already, and the partition's marker was lost.  Readers of
committed records wait behind a hanging transaction until the same worker writes to that partition
again, or until the transaction is aborted here.
"""

from __future__ import annotations

from typing import NamedTuple

from kafka import TopicPartition as KafkaPartition
from kafka.admin import AbortTransactionSpec, KafkaAdminClient

from feedmill.operations.worker_groups import worker_groups
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import topic_table
from feedmill.streams.kafka.topics import open_admin

# Markers of a transaction that just ended may be under way.
_QUIET_MS = 60_000
_OFFSETS = "__consumer_offsets"


class OpenTransaction(NamedTuple):
    """The place of a transaction, its first offset, its last write, its producer, if it hangs."""

    topic: str
    partition: int
    offset: int
    wrote_at_ms: int
    producer_id: int
    producer_epoch: int
    is_hanging: bool


def find_hanging(environment: Environment, now_ms: int) -> list[OpenTransaction]:
    """Return the hanging transactions in an installation's topics and in its groups' offsets.

    Raises `UsageError`: Kafka cannot be reached.
    """
    with open_admin(environment.kafka, environment.security) as admin:
        found = find_open(environment, admin, now_ms)
        return [transaction for transaction in found if transaction.is_hanging]


def find_open(
    environment: Environment, admin: KafkaAdminClient, now_ms: int
) -> list[OpenTransaction]:
    """Return the transactions that are open and wrote nothing for a minute, hanging or not."""
    counts = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
    named = [environment.topic(spec.name) for spec in topic_table(environment.signals.all)]
    places = {KafkaPartition(name, n) for name in named for n in range(counts.get(name, 0))}
    if offsets := counts.get(_OFFSETS, 0):
        places |= {
            KafkaPartition(_OFFSETS, offsets_partition(name, offsets))
            for name in worker_groups(environment, admin)
        }
    quiet = [
        (at, producer)
        for at, state in sorted(admin.describe_producers(sorted(places)).items())
        for producer in state.active_producers
        if producer.current_transaction_start_offset >= 0
        and producer.last_timestamp <= now_ms - _QUIET_MS
    ]
    known = _known_places(admin, {producer.producer_id for _, producer in quiet}) if quiet else ()
    return [
        OpenTransaction(
            at.topic,
            at.partition,
            producer.current_transaction_start_offset,
            producer.last_timestamp,
            producer.producer_id,
            producer.producer_epoch,
            is_hanging=(producer.producer_id, at.topic, at.partition) not in known,
        )
        for at, producer in quiet
    ]


def abort(environment: Environment, transactions: list[OpenTransaction]) -> None:
    """Write the marker that is missing, which says that the records do not count."""
    with open_admin(environment.kafka, environment.security) as admin:
        for transaction in transactions:
            at = KafkaPartition(transaction.topic, transaction.partition)
            admin.abort_transaction(
                AbortTransactionSpec(at, transaction.producer_id, transaction.producer_epoch)
            )


def _known_places(admin: KafkaAdminClient, producer_ids: set[int]) -> set[tuple[int, str, int]]:
    """Return the partitions in which the coordinators know an open transaction, by producer."""
    listed = admin.list_transactions(producer_id_filters=sorted(producer_ids)).values()
    names = sorted(
        {transaction.transactional_id for of_broker in listed for transaction in of_broker}
    )
    described = admin.describe_transactions(names).values() if names else ()
    return {
        (transaction.producer_id, *at)
        for transaction in described
        for at in transaction.topic_partitions
    }


def offsets_partition(group: str, partitions: int) -> int:
    """Return the partition in which Kafka keeps the offsets of a group: by Java's hash."""
    found = 0
    for letter in group.encode():  # ASCII: as topics, groups are called by letters and digits
        found = (31 * found + letter) & 0xFFFFFFFF
    # Java's hash has a sign, and Kafka takes its absolute value.
    return min(found, 2**32 - found) % partitions
