"""The combiner's step in a worker without Kafka and Redis."""

from collections.abc import Set as AbstractSet
from types import SimpleNamespace
from typing import Any

import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog, KeptWriter
from feedmill.events.signal import SignalNames
from feedmill.streams.environment import Environment
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.ranking import combiner_logs, redis_handover, shard_claims
from feedmill.streams.ranking.ranking import RankingStep
from feedmill.streams.redis.write_batch import FinishedBatch, WriteBatch, WriteReport
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.step import StepContext

NAMES = SignalNames()


class FakeWriterThread:
    """Takes batches while it `has_room`; `poll` reports them as written.

    `has_begun` tells whether it was told of all of them.
    """

    def __init__(self, *_: Any) -> None:
        self.has_room, self.trouble = True, ""
        self.has_begun = True
        self.batches: list[WriteBatch] = []

    def start(self) -> None: ...

    def own(self, shards: AbstractSet[int], given_up: AbstractSet[int]) -> None: ...

    def wait_idle(self, timeout_s: float) -> None:
        self.has_room = self.has_begun = True

    def submit(self, batch: WriteBatch) -> bool:
        self.batches.append(batch)
        self.has_begun = False
        return True

    def begin(self) -> None:
        self.has_begun = True

    def poll(self) -> WriteReport | None:
        done, self.batches = self.batches, []
        if not done:
            return None
        return WriteReport(finished=[FinishedBatch(one, 0.0, 0) for one in done])


def started(monkeypatch: pytest.MonkeyPatch) -> RankingStep:
    """A step whose logs are empty, before its first turn."""
    monkeypatch.setattr(combiner_logs, "LogConsumer", lambda *_, **__: FakeLog({}))
    monkeypatch.setattr(shard_claims, "LogConsumer", lambda *_, **__: FakeLog({}))
    monkeypatch.setattr(redis_handover, "WriterThread", FakeWriterThread)
    clock = LogClock(lambda: 0.0)
    clock.stamp(NOW_MS)
    made = RankingStep(Environment(), NAMES.all)
    connection: Any = SimpleNamespace(environment=Environment())
    made.start(StepContext(connection, clock, Metrics("combiner", "one"), 1))
    return made


def writer_of(step: RankingStep) -> Any:
    """The writer that the step hands its batches to, a `FakeWriterThread`."""
    return step._handover._writer


def turn(step: RankingStep) -> None:
    step.poll(KeptWriter())
    step.background(KeptWriter(), 1.0)


def turn_until_idle(step: RankingStep) -> None:
    for _ in range(100):
        turn(step)
        if step.is_idle:
            return
    raise AssertionError("never idle")
