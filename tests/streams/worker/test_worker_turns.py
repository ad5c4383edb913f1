"""Whose turn it is in a worker's loop, on a real Kafka."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kafka import KafkaAdminClient

from builders.kafka_log import KafkaLog
from builders.waiting import until
from feedmill.deploy.local import StackAddress
from feedmill.events.errors import UsageError
from feedmill.events.instance import MOST_REFUSALS
from feedmill.events.settings import Settings
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.worker.step import ModelStep as WorkerModelStep
from feedmill.streams.worker.step import Step, StepContext, StepStatus, WorkBatch, Writer
from feedmill.streams.worker.worker import CYCLE_S, LEAST_S, LEAST_TURN_S, Taken, Worker

pytestmark = pytest.mark.stack


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix, ranks=True)


class CountedStep(Step):
    """Counts its turns; urgent until told otherwise, if at all."""

    def __init__(self, name: str, *, is_urgent: bool = False) -> None:
        super().__init__()
        self.name = name
        self.restores = is_urgent
        self.may_take_partitions = True
        self.polls = self.backgrounds = 0
        self.prepared: list[set[int]] = []
        self.budgets: list[float] = []

    @property
    def is_urgent(self) -> bool:
        return self.restores

    def prepare(self, likely: AssignmentChange) -> None:
        assert {at.partition for at in likely.starts} == set(likely.gained)
        self.prepared.append(set(likely.gained))

    def status(self) -> StepStatus:
        return StepStatus(may_join=self.may_take_partitions)

    def poll(self, writer: Writer) -> bool:
        self.polls += 1
        return False

    def background(self, writer: Writer, budget_s: float) -> bool:
        self.backgrounds += 1
        self.budgets.append(budget_s)
        return False

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        pass


@contextlib.contextmanager
def looping(worker: Worker) -> Iterator[None]:
    """Run the worker's loop in a thread within the block."""
    loop = threading.Thread(target=worker.run)
    loop.start()
    try:
        yield
    finally:
        worker.stopping.set()
        loop.join(20)
    assert not loop.is_alive()


@pytest.mark.parametrize("is_static", [False, True])
def test_beside_others_a_worker_joins_once_it_could_go_on(kafka: KafkaLog, is_static: bool) -> None:
    steps = [CountedStep(name) for name in ("first", "second")]
    for step in steps:
        step.may_take_partitions = False
    first, second = (Worker(kafka.named(step.name, is_static=is_static), [step]) for step in steps)
    with looping(first):
        until(lambda: first.group.owned == (0, 1))
        with looping(second):
            until(lambda: bool(steps[1].prepared))
            polls, backgrounds = steps[1].polls, steps[1].backgrounds
            until(lambda: steps[1].polls > polls + 50 and steps[1].backgrounds > backgrounds + 50)
            assert (first.group.owned, second.group.owned) == ((0, 1), ())
            assert [step.prepared for step in steps] == [[], [{0, 1}]]
            assert second.status.ready_reason() == "waiting for partitions"
            steps[1].may_take_partitions = True
            until(lambda: len(second.group.owned) == len(first.group.owned) == 1)
        until(lambda: first.group.owned == (0, 1))


def members_of(kafka: KafkaLog) -> list[str]:
    """The names of the members of the group, "" of those without one."""
    name = kafka.environment.group("worker")
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka.environment.kafka)) as admin:
        listed = admin.describe_groups([name])[name]["members"]
    return sorted(member["group_instance_id"] or "" for member in listed)


def test_a_static_member_that_is_alone_stays_and_comes_back_without_reading_ahead(
    kafka: KafkaLog,
) -> None:
    patient = replace(kafka.environment, session_timeout_ms=60_000, instance_is_given=True)
    environment, steps = replace(patient, instance="a"), [CountedStep("spam") for _ in range(3)]
    with looping(first := Worker(environment, [steps[0]])):
        until(lambda: first.group.owned == (0, 1))
    assert members_of(kafka) == ["a"]
    with looping(other := Worker(replace(patient, instance="b"), [steps[1]])):
        until(lambda: bool(steps[1].prepared))
        with looping(back := Worker(environment, [steps[2]])):
            until(lambda: len(back.group.owned) == len(other.group.owned) == 1)
            assert (members_of(kafka), steps[2].prepared) == (["a", "b"], [])


@pytest.mark.parametrize("is_static", [False, True])
def test_who_leaves_others_goes_on_until_they_have_read_ahead(
    kafka: KafkaLog, is_static: bool
) -> None:
    steps = [CountedStep("spam") for _ in range(2)]
    first, second = (
        Worker(kafka.named(name, is_static=is_static), [step])
        for name, step in zip(("a", "b"), steps, strict=True)
    )
    with looping(first):
        until(lambda: first.group.owned == (0, 1))
        with looping(second):
            until(lambda: len(second.group.owned) == len(first.group.owned) == 1)
            until(lambda: second.status.ready_reason() == "")
            theirs, polls = set(second.group.owned), steps[1].polls
            second.stopping.set()
            until(lambda: theirs in steps[0].prepared)
            assert set(first.group.owned) == {0, 1} - theirs
            until(lambda: steps[1].polls > polls + 5)
        assert members_of(kafka) == ["a" if is_static else ""]
        until(lambda: first.group.owned == (0, 1))
    # Nobody was left that would read ahead.
    assert first.takeover.leaving == ()


def test_nobody_has_a_turn_before_an_urgent_step_is_done(kafka: KafkaLog) -> None:
    first, urgent = CountedStep("first"), CountedStep("urgent", is_urgent=True)
    worker = Worker(kafka.environment, [first, urgent])
    with looping(worker):
        until(lambda: urgent.polls > 50 and urgent.backgrounds > 50)
        assert (first.polls, first.backgrounds) == (0, 0)
        urgent.restores = False
        until(lambda: first.polls > 50 and first.backgrounds > 50)


class RefusedStep(CountedStep):
    """Finds at its start that something is missing."""

    def start(self, context: StepContext) -> None:
        raise UsageError("a model is missing")


class ClosedStep(CountedStep):
    """Counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_where_a_step_does_not_start_those_that_did_are_closed_and_nothing_else_is_said(
    kafka: KafkaLog, caplog: pytest.LogCaptureFixture
) -> None:
    started, never = ClosedStep("started"), ClosedStep("never")
    worker = Worker(kafka.environment, [started, RefusedStep("refused"), never])
    with caplog.at_level(logging.WARNING), pytest.raises(UsageError, match="a model is missing"):
        worker.run()
    assert (started.closed, never.closed) == (1, 0)
    assert caplog.messages == []


class GreedyStep(CountedStep):
    """Takes more of the processor than a cycle has, in `poll`, and its whole turn."""

    def poll(self, writer: Writer) -> bool:
        work_for(2 * CYCLE_S)
        return super().poll(writer)

    def background(self, writer: Writer, budget_s: float) -> bool:
        super().background(writer, budget_s)
        work_for(budget_s)
        return True


def work_for(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_background_work_gets_what_the_rest_of_a_cycle_has_left(kafka: KafkaLog) -> None:
    steps = [CountedStep("first"), CountedStep("second")]
    worker = Worker(kafka.environment, steps)
    with looping(worker):
        until(lambda: all(step.backgrounds > 50 for step in steps))
    budgets = [budget for step in steps for budget in step.budgets]
    assert max(budgets) <= CYCLE_S
    assert max(budgets) > LEAST_S
    assert min(budgets) >= LEAST_TURN_S


def test_where_restores_take_a_whole_cycle_each_step_still_has_turns(kafka: KafkaLog) -> None:
    steps = [GreedyStep("first"), GreedyStep("second")]
    worker = Worker(kafka.environment, steps)
    with looping(worker):
        until(lambda: all(step.backgrounds > 5 for step in steps))
    # Each turn took all that was left, so that no cycle had two.
    assert abs(steps[0].backgrounds - steps[1].backgrounds) <= 1
    assert max(budget for step in steps for budget in step.budgets) <= LEAST_S


class OrderStep(CountedStep):
    """Notes in which order it is called, from its first turn on."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[str] = []

    def poll(self, writer: Writer) -> bool:
        self.calls.append("poll")
        return super().poll(writer)

    def settings_changed(self, settings: Settings) -> None:
        if self.polls:
            self.calls.append("settings")

    def background(self, writer: Writer, budget_s: float) -> bool:
        self.calls.append("background")
        return super().background(writer, budget_s)


def test_a_setting_that_comes_within_a_cycle_holds_in_that_cycle(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = OrderStep("only")
    worker = Worker(kafka.environment, [step])
    follow = worker.settings.follow

    def followed_after_a_poll() -> None:
        if "settings" not in step.calls and step.calls[-1:] == ["poll"]:
            worker.settings.settings = worker.settings.settings.skip(7)
        follow()

    monkeypatch.setattr(worker.settings, "follow", followed_after_a_poll)
    with looping(worker):
        until(lambda: "settings" in step.calls and step.backgrounds > 50)
    at = step.calls.index("settings")
    assert step.calls[at - 1 : at + 2] == ["poll", "settings", "background"]


class RankingStep(OrderStep):
    """Follows settings within a cycle; shares its list of calls."""

    ranks = True

    def __init__(self, name: str, calls: list[str]) -> None:
        super().__init__(name)
        self.calls = calls

    def settings_changed(self, settings: Settings) -> None:
        self.calls.append(f"{self.name} {settings.offset}")

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        self.calls.append(f"apply {self.name}")


class ModelStep(RankingStep):
    ranks = False


def test_what_ranks_follows_settings_between_two_steps_and_the_others_after_the_cycle(
    stack: StackAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    worker = Worker(
        Environment(kafka=stack.kafka), [ModelStep("model", calls), RankingStep("combiner", calls)]
    )
    monkeypatch.setattr(worker, "_decode", lambda *_, **__: WorkBatch(0), raising=False)
    worker._followed = worker.settings.settings
    looks = 0

    def follow() -> bool:
        nonlocal looks
        looks += 1
        worker.settings._read_at = time.monotonic() + 60.0
        worker.settings.settings = worker.settings.settings.skip(7)
        return True

    monkeypatch.setattr(worker.settings, "follow", follow)
    worker._apply(Taken([], []))
    assert calls == ["apply model", "combiner 7", "apply combiner", "combiner 7"]
    # Between the steps they are read only now and then.
    assert looks == 1
    worker._follow_settings()
    worker._follow_settings()
    assert calls[4:] == ["model 7", "combiner 7"]


class HalfStep(CountedStep, WorkerModelStep):
    """Says 0.5 of every post."""

    def swap(self, model: Any) -> None:
        self.model, self.models = model, {self.name: model.version}


def a_model(value: float, asked: list[int]) -> Any:
    """Says a value of every post, and notes how many posts each call was about."""

    def score_batch(posts: PostBatch) -> Scores:
        asked.append(len(posts))
        return np.full(len(posts), value)

    return SimpleNamespace(name="spam", version="v1", score_batch=score_batch)


def test_a_model_that_answers_otherwise_is_stopped_while_the_worker_runs(kafka: KafkaLog) -> None:
    step, asked = HalfStep("spam"), list[int]()
    step.swap(a_model(0.5, asked))
    worker = Worker(kafka.environment, [step])
    with looping(worker):
        until(lambda: bool(asked) and not worker.status.ready_reason())
        step.model = a_model(0.25, asked)
        until(lambda: "known answer 0 is 0.25, it was 0.5" in worker.status.ready_reason())


class KnowingStep(CountedStep):
    """Knows one post."""

    def never_was(self, partition: int, post_id: str) -> bool:
        return post_id != "known"


def test_engagements_wait_that_are_of_a_post_which_some_step_must_know_first(
    stack: StackAddress,
) -> None:
    worker = Worker(Environment(kafka=stack.kafka), [CountedStep("first"), KnowingStep("knows")])
    is_new = worker.group.posts_first.is_new
    assert [is_new(0, one) for one in ("known", "other")] == [False, True]


def test_refused_settings_write_no_heartbeat_before_its_time(kafka: KafkaLog) -> None:
    worker = Worker(kafka.environment, [CountedStep("first")])
    with looping(worker):
        until(lambda: worker.settings.log.all_live() and not worker.status.ready_reason())
        before, refused = len(kafka.read("instances")), 0
        for _ in range(20):
            kafka.produce("config", [(b"weights", b'{"value": {"quality": -1}}')] * 5)
            refused += 5
            until(partial(refusals, worker, refused), every=0.002)
        # One every five seconds.
        assert len(kafka.read("instances")) <= before + 4
        kafka.produce("config", [(b"weights", b'{"value": {"quality": 1, "engagement": 1}}')])
        until(lambda: worker.settings.settings.offset == refused)
        until(lambda: newest_heartbeat(kafka)["config_offset"] == refused)
        assert len(newest_heartbeat(kafka)["refused"]) == MOST_REFUSALS


def refusals(worker: Worker, count: int) -> bool:
    return worker.settings.refused_count >= count


def newest_heartbeat(kafka: KafkaLog) -> Any:
    return json.loads(kafka.read("instances")[-1].value())
