"""What goes wrong in the first hour is said where people look: by /readyz, in the README."""

from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from builders.fault_engine import FaultEngine
from builders.waiting import until

ROOT = Path(__file__).parents[3]


def test_a_second_group_that_judges_the_same_is_not_ready_and_says_why(engine: FaultEngine) -> None:
    first = engine.ready_worker(stages="quality+engagement")
    # Named after the first one: `worker-quality-engagement` comes before `worker-spam-quality`.
    second = engine.start_worker(stages="quality+spam")
    group = engine.topic("worker-quality-engagement")
    said = f"the group `{group}` runs the stage quality, too"
    until(lambda: said in second.log.read_text())
    until(lambda: said in engine.not_ready_since(second))
    until(lambda: "runs the stage quality, too" in first.log.read_text())
    assert engine.says_ready(first)
    assert second.process.poll() is None


def test_producers_are_told_that_kafka_refuses_a_record_without_a_key(engine: FaultEngine) -> None:
    # All in one batch, as of a producer that is busy.
    busy = KafkaProducer(bootstrap_servers=engine.kafka, linger_ms=1000)
    keys = (b"p1", None, b"p2")
    sent = [busy.send(engine.topic("posts"), b"{}", key, partition=0) for key in keys]
    for future in sent:
        with pytest.raises(
            KafkaError, match=r"Compacted topic cannot accept|part of a batch which"
        ):
            future.get(30)
    busy.close()
    told = (ROOT / "README.md").read_text()
    assert "Kafka refuses a post without a key, and the other records of its batch" in told
