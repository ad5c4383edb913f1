"""What a group committed, on a real Kafka, where a transaction holds it back."""

import contextlib
import time

import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from kafka import TopicPartition as KafkaPythonPartition
from kafka.admin import KafkaAdminClient
from kafka.structs import OffsetAndMetadata

from builders.kafka_log import KafkaLog
from builders.lost_brokers import forget_brokers
from builders.waiting import until
from feedmill.deploy.local import StackAddress
from feedmill.streams.kafka import offsets, read_progress
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection

SOURCE = TopicPartition("posts", 0)
WITHIN_S = 40.0


def test_offsets_are_waited_for_until_their_transaction_has_no_end(
    stack: StackAddress, kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offsets, "_TIMEOUT_S", 1.0)
    kafka.produce("posts", [(b"p", b"x")] * 20)
    group = kafka.environment.group("worker")
    consumer = Consumer({"bootstrap.servers": stack.kafka, "group.id": group})
    name = kafka.environment.topic("posts")
    consumer.commit(offsets=[KafkaPartition(name, 0, 3)], asynchronous=False)
    producer = kafka.producer(**{"transactional.id": group})
    producer.init_transactions(20)
    producer.begin_transaction()
    metadata = consumer.consumer_group_metadata()
    producer.send_offsets_to_transaction([KafkaPartition(name, 0, 7)], metadata, 20)
    asked = offsets.Offsets(kafka.environment, Connection(kafka.environment).health)

    monkeypatch.setattr(read_progress, "HANGS_AFTER_S", 1000.0)
    for _ in range(3):
        with pytest.raises(KafkaException):
            asked.committed("worker", [SOURCE]).result(WITHIN_S)
    monkeypatch.setattr(read_progress, "HANGS_AFTER_S", 0.5)
    assert asked.committed("worker", [SOURCE]).result(WITHIN_S)[SOURCE].offset == 3

    # Unstable answers that are not in a row prove nothing.
    monkeypatch.setattr(read_progress, "ASKED_AGAIN_WITHIN_S", 0.1)
    time.sleep(0.2)
    with pytest.raises(KafkaException):
        asked.committed("worker", [SOURCE]).result(WITHIN_S)
    producer.commit_transaction(20)
    monkeypatch.setattr(read_progress, "HANGS_AFTER_S", 1000.0)

    def stable_offset() -> int | None:
        with contextlib.suppress(KafkaException):
            return asked.committed("worker", [SOURCE]).result(WITHIN_S)[SOURCE].offset
        return None

    assert until(stable_offset, WITHIN_S) == 7
    asked.close()
    consumer.close()


def test_what_can_be_read_ends_at_an_open_transaction(kafka: KafkaLog) -> None:
    kafka.produce("posts", [(b"p", b"x")] * 20)
    asked = Connection(kafka.environment).offsets
    places = [TopicPartition("posts", p) for p in (0, 1)]
    ends = asked.readable_ends(places).result(WITHIN_S)
    assert sum(ends.values()) == 20
    producer = kafka.producer(**{"transactional.id": kafka.environment.group("worker")})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(kafka.environment.topic("posts"), b"x", b"p")
    producer.flush(20)
    assert asked.readable_ends(places).result(WITHIN_S) == ends
    producer.commit_transaction(20)
    # The record, and the marker of the transaction.
    assert until(lambda: sum(asked.readable_ends(places).result(WITHIN_S).values()) == 22, WITHIN_S)


def test_another_client_is_asked_where_one_knows_no_broker(kafka: KafkaLog) -> None:
    kafka.produce("posts", [(b"p", b"x")] * 20)
    asked = Connection(kafka.environment).offsets

    def ask() -> tuple[int, dict[TopicPartition, offsets.Committed]]:
        bounds = asked.bounds([TopicPartition("posts", p) for p in (0, 1)]).result(WITHIN_S)
        return sum(one.end for one in bounds.values()), asked.committed("worker", [SOURCE]).result(
            WITHIN_S
        )

    assert ask() == (20, {})
    topics, groups = asked._topics, dict(asked._groups)
    for client in (topics, *groups.values()):
        forget_brokers(client)
    assert ask() == (20, {})
    assert asked._topics is not topics
    # In place: the other thread may be about to ask one.
    assert asked._groups.keys() == groups.keys()
    assert not {*asked._groups.values()} & {*groups.values()}
    assert ask() == (20, {})


def test_the_text_beside_an_offset_ends_where_it_was_written(
    stack: StackAddress, kafka: KafkaLog
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    place = KafkaPythonPartition(kafka.environment.topic("posts"), 0)
    asked = offsets.Offsets(kafka.environment, Connection(kafka.environment).health)
    # What stands in memory behind a text depends on its length.
    for length in range(0, 200, 2):
        text = '{"posts": "' + "x" * length + '"}'
        offset = OffsetAndMetadata(3, text, None)
        admin.alter_group_offsets(kafka.environment.group("worker"), {place: offset})
        found = asked.committed("worker", [SOURCE]).result(WITHIN_S)[SOURCE]
        assert found == (3, text)
    asked.close()
    admin.close()
