"""The dose of an experiment: how much of the control's top ten the lists of its arms have."""

from __future__ import annotations

import logging

import redis

from feedmill.events.settings import Settings
from feedmill.experiments.parts import MeasuredOverlap
from feedmill.streams.environment import Environment
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.clock import now_ms

log = logging.getLogger(__name__)

TOP = 10


def overlaps(environment: Environment, settings: Settings) -> list[MeasuredOverlap]:
    """Read the top ten of every arm of the running experiments; nothing where Redis is away."""
    running = [(name, one) for name, one in settings.experiments.items() if not one.stopped]
    found: list[MeasuredOverlap] = []
    if not running:
        return found
    reader = open_feed_reader(environment.redis, environment.redis_prefix)
    try:
        for name, experiment in running:
            for feed in experiment.feeds:
                control = _top(reader, feed)
                for arm in experiment.arms[1:] if control else ():
                    top = _top(reader, feed, f"{name}.{arm.name}")
                    share = len(control & top) / len(control)
                    if top:
                        found.append(MeasuredOverlap(name, arm.name, feed, now_ms(), share))
    except redis.RedisError as error:
        log.warning("the top tens of arms are not measured: Redis: %s", error)
    finally:
        reader.client.close()
    return found


def _top(reader: FeedReader, feed: str, arm: str = "") -> set[str]:
    found = reader.feed(feed, TOP, arm)
    return set() if found is None else {post_id for post_id, _ in found.ranking}
