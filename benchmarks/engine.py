"""A whole engine for a benchmark: every stage, under a prefix of its own."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from feedmill.deploy.local import default_folder, up
from feedmill.deploy.supervisor import Supervisor
from feedmill.streams.kafka.topics import create
from feedmill.streams.settings.environment import Environment, read_environment
from feedmill.streams.stages.flow import STAGES


def own_environment() -> Environment:
    """The given Kafka and Redis, else the local stack, under a fresh prefix."""
    env = dict(os.environ)
    if "FEEDMILL_KAFKA" not in env:
        address = up(default_folder())
        env |= {"FEEDMILL_KAFKA": address.kafka, "FEEDMILL_REDIS": address.redis}
    tag = f"bench{uuid.uuid4().hex[:6]}."
    return read_environment({**env, "FEEDMILL_TOPIC_PREFIX": tag, "FEEDMILL_REDIS_PREFIX": tag})


@asynccontextmanager
async def running_engine(
    environment: Environment, logs: Path, stages: tuple[str, ...] = tuple(STAGES)
) -> AsyncIterator[Supervisor]:
    """All stages, ready; stopped at the end."""
    create(environment.kafka, environment.topic_prefix, 4, environment.signals.all)
    supervisor = Supervisor(environment, stages, logs)
    supervising = asyncio.ensure_future(supervisor.run())
    try:
        await asyncio.wait_for(supervisor.wait_ready(), 60)
        yield supervisor
    finally:
        supervisor.stopping.set()
        await supervising
