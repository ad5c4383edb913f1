"""Where the benchmarks find Kafka and Redis."""

from __future__ import annotations

import os
import uuid

from feedmill.deploy.local import default_folder, up
from feedmill.streams.environment import Environment, read_environment

# A broker in production compiles its code with both compilers; the local stack's has the first
# alone, which starts faster and takes half as much again of the processor once it is warm.  Without
# a size of its own the part of the heap for new objects is so large that each collection of it
# stops the broker for 30 ms, every 3 s at 1,000 posts a second; with this it is 6 ms.
_BROKER = "-XX:+UseSerialGC -Xmn24m"


def own_environment() -> Environment:
    """The given Kafka and Redis, else the local stack, under a fresh prefix.

    A stack that runs already is taken as it is: `feedmill local down` before a benchmark.
    """
    env = dict(os.environ)
    os.environ.setdefault("KAFKA_JVM_PERFORMANCE_OPTS", _BROKER)
    if "FEEDMILL_KAFKA" not in env:
        address = up(default_folder())
        env |= {"FEEDMILL_KAFKA": address.kafka, "FEEDMILL_REDIS": address.redis}
    tag = f"bench{uuid.uuid4().hex[:6]}."
    return read_environment({**env, "FEEDMILL_TOPIC_PREFIX": tag, "FEEDMILL_REDIS_PREFIX": tag})
