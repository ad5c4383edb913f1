"""Nothing of the Kafka layer's tests ranks: they need no shards, but where they say so."""

import pytest

from builders.kafka_log import KafkaLog
from feedmill.deploy.local import StackAddress


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.without_shards(stack.kafka, prefix)
