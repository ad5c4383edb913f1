"""What the tests of the streams share: a Kafka with topics under a prefix of the test."""

import pytest

from builders.kafka_log import KafkaLog
from feedmill.deploy.local import StackAddress


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix)
