"""What every client of librdkafka is made with."""

import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from builders.bombs import bomb, send_batch
from builders.kafka_log import KafkaLog, until
from builders.lost_brokers import NO_BROKERS
from feedmill.deploy.local import StackAddress
from feedmill.deploy.local.process import HOST, free_port
from feedmill.streams.environment import Environment, memory_shares
from feedmill.streams.kafka import client
from feedmill.streams.kafka.client import (
    ClientHealth,
    new_group_consumer,
    new_log_consumer,
    new_producer,
)


@pytest.mark.parametrize("of_a_group", [True, False])
def test_keys_that_wait_are_few(stack: StackAddress, prefix: str, of_a_group: bool) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix, partitions=1)
    environment = replace(kafka.environment, memory_mib=64)
    # Drawn, so that a fetch brings one: the broker compresses them.
    kafka.produce("posts", [(random.Random(1).randbytes(500_000), None)] * 40)
    health = ClientHealth()
    consumer = (
        new_group_consumer(environment, "g", health)
        if of_a_group
        else new_log_consumer(environment, health)
    )
    consumer.assign([TopicPartition(environment.topic("posts"), 0, 0)])
    found = [consumer.poll(10)]
    time.sleep(1.0)
    found += consumer.consume(40, 0)
    # Those that wait while no more is asked for, and a batch.
    assert 1 <= len(found) <= memory_shares(environment).waiting_records + 2
    until(lambda: len(found) >= 40, lambda: found.extend(consumer.consume(40, 0.1)))
    assert [one.offset() for one in found[:40]] == [*range(40)]
    consumer.close()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_broker_is_known_whether_it_answers_or_not(
    stack: StackAddress, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    monkeypatch.setattr(client, "_STATISTICS_MS", 50)
    kafka = stack.kafka if is_there else f"{HOST}:{free_port(set())}"
    said: list[dict[str, Any]] = []

    class Listening(client.KnownBrokers):
        def note(self, statistics: str) -> None:
            super().note(statistics)
            said.append(json.loads(statistics)["brokers"])

    monkeypatch.setattr(client, "KnownBrokers", Listening)
    for new in (new_log_consumer, new_producer):
        said.clear()
        made = new(Environment(kafka=kafka), ClientHealth())
        until(lambda: len(said) >= 20, partial(made.poll, 0.05))
        states = {one["state"] for brokers in said for one in brokers.values()}
        assert ("UP" in states) is is_there
        assert not made.brokers.are_lost


def test_a_member_of_a_group_hears_of_a_rebalance_soon(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats bring it.  They are counted by statistics, which the same thread makes."""
    monkeypatch.setattr(client, "_STATISTICS_MS", 200)
    sent: list[int] = []

    class Counting(client.KnownBrokers):
        def note(self, statistics: str) -> None:
            brokers = json.loads(statistics)["brokers"].values()
            sent.append(sum(one["req"].get("Heartbeat", 0) for one in brokers))

    monkeypatch.setattr(client, "KnownBrokers", Counting)
    member = new_group_consumer(kafka.environment, "g", ClientHealth())
    member.subscribe([kafka.environment.topic("posts")])
    poll = partial(member.poll, 0.05)
    until(lambda: sent and sent[-1] > 0, poll)
    sent.clear()
    until(lambda: len(sent) > 10, poll)
    member.close()
    # In 10 of them, of 200 ms each, 6 heartbeats are due; of librdkafka's own interval it is one.
    assert sent[10] - sent[0] >= 3


def test_a_client_is_lost_once_it_has_known_no_broker_for_some_time() -> None:
    brokers = client.KnownBrokers()
    known = {"localhost:9092/1": {"source": "learned", "state": "DOWN", "nodeid": 1}}
    told = []
    # A moment without any is none: it asks the bootstrap servers again.
    for statistics in (NO_BROKERS, _json({"brokers": known}), NO_BROKERS, NO_BROKERS):
        brokers.note(statistics)
        told.append(brokers.are_lost)
    assert told == [False] * 3 + [True]


def _json(value: Any) -> str:
    # As librdkafka writes it.
    return json.dumps(value, separators=(",", ":"))


# Reads so many records, and says how much memory that took at most, MB.
READER = """
import re, sys
from pathlib import Path
from confluent_kafka import TopicPartition
from feedmill.streams.kafka.client import ClientHealth, new_log_consumer
from feedmill.streams.environment import Environment

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

kafka, topic, count = sys.argv[1:]
consumer = new_log_consumer(Environment(kafka=kafka), ClientHealth())
before, found = peak_mb(), 0
consumer.assign([TopicPartition(topic, 0, 0)])
while found < int(count):
    found += sum(message.error() is None for message in consumer.consume(100, 0.1))
print(peak_mb() - before)
"""


def test_a_fetch_of_many_batches_that_inflate_takes_bounded_memory(
    stack: StackAddress, prefix: str
) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix, partitions=1)
    topic = kafka.environment.topic("posts")
    # Each is read, since it stays below what librdkafka inflates; all of them take 35 kB.
    batch = bomb("zstd", 2_600_000)
    for _ in range(150):
        send_batch(stack.kafka, topic, 0, batch)
    command = [sys.executable, "-c", READER, stack.kafka, topic, "750"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 300
