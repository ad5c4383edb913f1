"""What a fault is caused in, and what a fault is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from alarms.prometheus_server import PrometheusServer
from builders.engine import Engine, Worker
from builders.own_redis import OwnRedis

# As long as the rules look back: before, a new series is none that came into being.
SEEN_BEFORE_S = 20.0


@dataclass
class Surroundings:
    """What a fault is caused in: an engine with one worker, which Prometheus scrapes.

    Attributes
    ----------
    worker
        The one that runs.
    """

    engine: Engine
    redis: OwnRedis
    prometheus: PrometheusServer
    worker: Worker | None = None

    def start(self, name: str = "", **more: object) -> Worker:
        """Start a worker, and have Prometheus scrape it."""
        self.worker = self.engine.ready_worker(name, **more)
        self.prometheus.watch(self.engine.port_of(self.worker))
        return self.worker


# What comes before its `yield` causes it, what comes after cures it.
Fault = Callable[[Surroundings], Iterator[None]]
