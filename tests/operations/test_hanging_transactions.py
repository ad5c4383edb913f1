"""Transactions of which no coordinator knows are found among open ones, and ended."""

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.structs import OffsetAndMetadata

from builders.kafka_log import KafkaLog, until
from builders.lost_markers import leave_open
from builders.waiting import now_ms
from feedmill.deploy.local import StackAddress
from feedmill.operations.hanging_transactions import abort, find_hanging, offsets_partition

TOPIC = "signals.spam"


def test_one_whose_marker_was_lost_is_ended_and_one_that_is_open_is_not(
    stack: StackAddress, prefix: str
) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix)
    name = kafka.environment.topic(TOPIC)
    with kafka.transaction("upstream") as produce:
        produce(TOPIC, b"open", b"x")
        until(lambda: kafka.read(TOPIC, committed=False), lambda: None)
        leave_open(stack.kafka, f"{prefix}gone", name, 1, [(b"lost", b"x")])
        # What wrote just now may be about to end.
        assert find_hanging(kafka.environment, now_ms()) == []
        later_ms = now_ms() + 61_000
        (hanging,) = find_hanging(kafka.environment, later_ms)
        assert hanging[:2] == (name, 1)
        abort(kafka.environment, [hanging])
        assert find_hanging(kafka.environment, later_ms) == []
    # Kafka writes the marker of what was committed a moment later.
    until(lambda: [message.key() for message in kafka.read(TOPIC)] == [b"open"], lambda: None)


def test_offsets_are_looked_for_where_kafka_keeps_them(stack: StackAddress, prefix: str) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix, partitions=1)
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    at = TopicPartition(kafka.environment.topic("posts"), 0)

    def ends() -> dict[int, int]:
        """Where the partitions of all groups' offsets end."""
        (topic,) = admin.describe_topics(["__consumer_offsets"])
        places = [TopicPartition(topic["name"], n) for n in range(len(topic["partitions"]))]
        found = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        return {place.partition: end.offset for place, end in found.items()}

    admin.alter_group_offsets(f"{prefix}worker", {at: OffsetAndMetadata(7, "", None)})
    # Other groups of this Kafka commit at the same time, and not each in the place of these.
    for number in range(8):
        group, before = f"{prefix}worker-{number}", ends()
        admin.alter_group_offsets(group, {at: OffsetAndMetadata(7, "", None)})
        partition = offsets_partition(group, len(before))
        assert ends()[partition] > before[partition]
    admin.close()
