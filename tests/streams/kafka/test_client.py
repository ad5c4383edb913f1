"""What every client of librdkafka is made with."""

import time
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from builders.kafka_log import KafkaLog, until
from feedmill.deploy.local import StackAddress
from feedmill.streams.kafka import client
from feedmill.streams.kafka.client import ClientHealth, new_log_consumer, new_producer
from feedmill.streams.settings.environment import Environment


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of the producers that were made."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(client, "Producer", found.append)
    return found


def test_outside_of_transactions_no_request_overtakes_another(made: list[dict[str, Any]]) -> None:
    new_producer(Environment(), ClientHealth())
    new_producer(Environment(), ClientHealth(), transactional_id="worker/a")
    plain, transactional = made
    in_flight = "max.in.flight.requests.per.connection"
    assert (plain["enable.idempotence"], plain["acks"], plain[in_flight]) == (True, "all", 1)
    assert transactional["enable.idempotence"] is True
    assert in_flight not in transactional


@pytest.mark.parametrize("gathers", [True, False])
def test_a_consumer_that_gathers_asks_for_nothing_while_records_wait(
    stack: StackAddress, prefix: str, gathers: bool
) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix, partitions=1)
    consumer = new_log_consumer(kafka.environment, ClientHealth(), gathers=gathers)
    source = TopicPartition(kafka.environment.topic("engagements"), 0, 0)

    taken: list[bytes | None] = []
    ends: list[int | None] = []

    def known_end() -> Any:
        # Each answer to a fetch brings it.
        return consumer.get_watermark_offsets(source, cached=True)[1]

    def take() -> None:
        for one in consumer.consume(10, 0.05):
            if one.error() is None:
                taken.append(one.value())
            else:
                ends.append(one.offset())

    def pause() -> None:
        time.sleep(0.01)

    consumer.assign([source])
    kafka.produce("engagements", [(b"p", b"first")])
    # What says that this is the end waits to be taken, too.
    until(lambda: taken == [b"first"] and ends[-1:] == [1], take)
    kafka.produce("engagements", [(b"p", b"second")])
    until(lambda: known_end() == 2, pause)
    kafka.produce("engagements", [(b"p", b"third")])
    if gathers:
        time.sleep(1.0)
        assert known_end() == 2
    else:
        until(lambda: known_end() == 3, pause)
    until(lambda: len(taken) == 3, take)
    assert taken == [b"first", b"second", b"third"]
    consumer.close()
