"""The local stack: a real Kafka and Redis on this machine, from pip, for development and tests."""

from feedmill.deploy.local.kafka_server import kafka_tool
from feedmill.deploy.local.process import LocalStackError
from feedmill.deploy.local.stack import (
    StackAddress,
    StackStatus,
    default_folder,
    down,
    redis_cli,
    status,
    up,
)

__all__ = [
    "LocalStackError",
    "StackAddress",
    "StackStatus",
    "default_folder",
    "down",
    "kafka_tool",
    "redis_cli",
    "status",
    "up",
]
