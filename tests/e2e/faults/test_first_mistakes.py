"""What goes wrong in the first hour is said where people look: in the README."""

from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from builders.engine import Engine

ROOT = Path(__file__).parents[3]


def test_producers_are_told_that_kafka_refuses_a_record_without_a_key(engine: Engine) -> None:
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
