"""Whose turn it is in a worker's loop, on a real Kafka."""

from __future__ import annotations

import threading

import pytest

from builders.kafka_log import KafkaLog
from builders.waiting import until
from feedmill.deploy.local import StackAddress
from feedmill.streams.stages.step import Step, WorkBatch, Writer
from feedmill.streams.stages.worker import Worker

pytestmark = pytest.mark.stack


class CountedStep(Step):
    """Counts its turns; urgent until told otherwise, if at all."""

    def __init__(self, name: str, *, is_urgent: bool = False) -> None:
        super().__init__()
        self.name = name
        self.restores = is_urgent
        self.polls = self.backgrounds = 0

    @property
    def is_urgent(self) -> bool:
        return self.restores

    def poll(self, writer: Writer) -> bool:
        self.polls += 1
        return False

    def background(self, writer: Writer, budget_s: float) -> bool:
        self.backgrounds += 1
        return False

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        pass


def test_nobody_has_a_turn_before_an_urgent_step_is_done(stack: StackAddress, prefix: str) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix)
    first, urgent = CountedStep("first"), CountedStep("urgent", is_urgent=True)
    worker = Worker(kafka.environment, [first, urgent])
    loop = threading.Thread(target=worker.run)
    loop.start()
    try:
        until(lambda: urgent.polls > 50 and urgent.backgrounds > 50)
        assert (first.polls, first.backgrounds) == (0, 0)
        urgent.restores = False
        until(lambda: first.polls > 50 and first.backgrounds > 50)
    finally:
        worker.stopping.set()
        loop.join(20)
    assert not loop.is_alive()
