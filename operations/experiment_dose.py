"""The dose of an experiment: how much of the control's top ten the lists of its arms have."""

from __future__ import annotations

import logging
from typing import Any

import redis

from feedmill.events.settings import Settings
from feedmill.experiments.parts import MeasuredOverlap
from feedmill.streams.redis.addresses import open_client
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment

log = logging.getLogger(__name__)

TOP = 10


def overlaps(environment: Environment, settings: Settings) -> list[MeasuredOverlap]:
    """Read the top ten of every arm of the running experiments; nothing where Redis is away."""
    running = [(name, one) for name, one in settings.experiments.items() if not one.stopped]
    found: list[MeasuredOverlap] = []
    if not running:
        return found
    client = open_client(environment.redis, socket_connect_timeout=5, socket_timeout=10)
    try:
        for name, experiment in running:
            for feed in experiment.feeds:
                key = f"{environment.redis_prefix}feed:{{{feed}}}"
                control = _top(client, key)
                for arm in experiment.arms[1:] if control else ():
                    top = _top(client, f"{key}:arm:{name}.{arm.name}")
                    share = len(control & top) / len(control)
                    if top:
                        found.append(MeasuredOverlap(name, arm.name, feed, now_ms(), share))
    except redis.RedisError as error:
        log.warning("the top tens of arms are not measured: Redis: %s", error)
    finally:
        client.close()
    return found


def _top(client: Any, key: str) -> set[bytes]:
    return set(client.zrange(key, 0, TOP - 1, desc=True))
