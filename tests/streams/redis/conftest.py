"""A Redis of one test alone, and writers on it.  No Kafka."""

from collections.abc import Iterator

import pytest

from builders.own_redis import OwnRedis, RedisClient
from builders.redis_writer import SteppedWriter


@pytest.fixture
def writer(own_redis: OwnRedis) -> Iterator[SteppedWriter]:
    """A batch writer of token 10 on it."""
    writer = SteppedWriter(own_redis.url)
    yield writer
    writer.batch_writer.close()


@pytest.fixture
def client(own_redis: OwnRedis) -> RedisClient:
    """A client that looks, and breaks things."""
    return own_redis.client()
