"""What is read ahead before partitions move, and for whom a worker that leaves goes on."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from msgspec.structs import replace

from builders.events import NOW_MS
from feedmill.events.instance import Instance
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.offsets import CommitMark, PartitionOffsets
from feedmill.streams.worker import takeover
from feedmill.streams.worker.step import Step, WorkBatch, Writer
from feedmill.streams.worker.takeover import LEAVE_S, Takeover


class Ahead(Step):
    """A step that notes what it is to read ahead."""

    def __init__(self, name: str, *, ranks: bool = False) -> None:
        super().__init__()
        self.name, self.ranks = name, ranks
        self.prepared: list[dict[int, int]] = []

    def prepare(self, likely: AssignmentChange) -> None:
        self.prepared.append({p: likely.starts[TopicPartition("posts", p)] for p in likely.gained})

    def apply(self, work: WorkBatch, writer: Writer) -> None: ...


class Answers:
    """Each partition is committed up to ten times its number; the first question fails."""

    def __init__(self) -> None:
        self.fails = True

    def standing(self, _: str, places: Sequence[TopicPartition]) -> Future[Any]:
        answer = Future[Any]()
        if self.fails:
            self.fails = False
            answer.set_exception(KafkaException(KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)))
        else:
            found = {at: PartitionOffsets(0, 100, 10 * at.partition, CommitMark()) for at in places}
            answer.set_result(found)
        return answer


class Clock:
    """Seconds of our own."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(takeover, "time", made)
    return made


def of_worker(*, owned: tuple[int, ...] = (0,)) -> tuple[Takeover, Ahead]:
    """The takeover of the worker `one` of the group `g`, and its step of `spam`."""
    environment = Environment(instance="one")
    connection = cast(Any, SimpleNamespace(environment=environment, offsets=Answers()))
    group = cast(Any, SimpleNamespace(name="g", owned=owned))
    steps = [Ahead("spam"), Ahead("combiner", ranks=True)]
    one = Takeover(connection, "worker", group, steps)
    one.partitions = 4
    return one, steps[0]


def read_ahead(one: Takeover) -> None:
    """Ask, and once more after a failure."""
    for _ in range(3):
        one.read_ahead()


def heartbeat(
    instance: str = "two", *, group: str = "g", stage: str = "spam", leaving: tuple[int, ...] = ()
) -> Instance:
    plain = Instance(stage, instance, "host", 1, "b", 0, (), {}, True, 0, NOW_MS)
    return replace(plain, group=group, leaving=leaving)


def test_who_joins_others_reads_ahead_of_all_partitions_once() -> None:
    one, step = of_worker(owned=())
    one.join()
    one.read_ahead()
    assert not one.is_prepared, "Kafka did not answer"
    for _ in range(2):
        one.join()
        read_ahead(one)
    assert one.is_prepared
    assert step.prepared == [{0: 0, 1: 10, 2: 20, 3: 30}]


def test_what_another_leaves_is_read_ahead(clock: Clock) -> None:
    one, step = of_worker()
    for other in (
        heartbeat(),
        heartbeat("one", leaving=(0, 2)),
        heartbeat(group="another", leaving=(0, 2)),
    ):
        one.heartbeat(other, NOW_MS)
        read_ahead(one)
    assert step.prepared == []
    for stage in ("spam", "nsfw"):
        one.heartbeat(heartbeat(stage=stage, leaving=(0, 2)), NOW_MS)
    read_ahead(one)
    assert step.prepared == [{2: 20}], "it has 0 itself"


def test_partitions_that_do_not_exist_are_not_read_ahead(clock: Clock) -> None:
    one, step = of_worker()
    one.heartbeat(heartbeat(leaving=(2**31, -1, 999_999)), NOW_MS)
    read_ahead(one)
    one.heartbeat(heartbeat(leaving=(2**31, 2)), NOW_MS)
    read_ahead(one)
    assert step.prepared == [{2: 20}]


def test_who_leaves_does_so_for_whoever_was_ready_and_does_not_leave_as_well(clock: Clock) -> None:
    one, _ = of_worker()
    for other in (heartbeat(), heartbeat("three"), heartbeat(leaving=(2,))):
        one.heartbeat(other, NOW_MS)
    # A rebalance makes it wait for partitions for a moment.
    one.heartbeat(replace(heartbeat("three"), ready=False), NOW_MS)
    one.leave()
    assert one.leaving == (0,)
    one.heartbeat(heartbeat("three", leaving=(3,)), NOW_MS)
    assert not one.goes_on
    assert one.hands_over


def test_shards_are_handed_over_to_a_ranker_and_nothing_to_a_worker_that_never_was_ready(
    clock: Clock,
) -> None:
    for other, expected in (
        (heartbeat(stage="combiner"), True),
        (replace(heartbeat(), ready=False), False),
        (heartbeat(stage="nsfw"), False),
    ):
        one, _ = of_worker()
        one.heartbeat(other, NOW_MS)
        one.leave()
        assert (one.hands_over, one.leaving) == (expected, ())


def test_heartbeats_under_many_names_fill_no_memory(clock: Clock) -> None:
    one, _ = of_worker()
    for number in range(1000):
        one.heartbeat(heartbeat(f"n{number}"), NOW_MS)
    assert len(one._others) == 200
    one.leave()
    assert one.leaving == (0,)


def test_who_leaves_goes_on_for_others_for_so_long(clock: Clock) -> None:
    one, _ = of_worker()
    one.heartbeat(heartbeat(), NOW_MS)
    clock.now_s += 5
    one.leave()
    assert one.leaving == (0,)
    clock.now_s += LEAVE_S - 0.1
    assert one.goes_on
    clock.now_s += 0.2
    assert not one.goes_on


@pytest.mark.parametrize(
    "heard",
    [
        (),
        (heartbeat("one"),),
        (heartbeat(stage="combiner"),),
        (heartbeat(group="another"),),
        (heartbeat(), heartbeat(leaving=(0, 2))),
    ],
    ids=["nobody", "itself", "a ranker alone", "another group", "one that leaves as well"],
)
def test_who_leaves_goes_on_for_nobody_who_gets_nothing(
    clock: Clock, heard: tuple[Instance, ...]
) -> None:
    one, _ = of_worker()
    for other in heard:
        one.heartbeat(other, NOW_MS)
    one.leave()
    assert one.leaving == ()


def test_others_that_were_silent_for_long_and_a_worker_that_has_nothing_need_no_wait(
    clock: Clock,
) -> None:
    one, idle = of_worker()[0], of_worker(owned=())[0]
    for each in (one, idle):
        each.heartbeat(heartbeat(), NOW_MS)
    idle.leave()
    clock.now_s += 60
    one.leave()
    assert one.leaving == idle.leaving == ()
