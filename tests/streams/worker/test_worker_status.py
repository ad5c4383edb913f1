"""Two consumer groups with a stage in common: heartbeats name the other, and Kafka knows."""

import logging
from collections.abc import Callable, Collection
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from feedmill.events.instance import Instance
from feedmill.streams.environment import Environment
from feedmill.streams.flow import judged_by
from feedmill.streams.worker import worker_status
from feedmill.streams.worker.worker_status import OtherGroups

STAGES = {"spam", "quality"}
POSTS, BOTH = {"posts"}, {"posts", "feed-shards"}
JUDGED_BY = partial(judged_by, environment=Environment(topic_prefix=""))


def beat(stage: str, group: str) -> Instance:
    return Instance(*(stage, "i2", "host-2", 1, "test", -1, (), {}, True, 0, 0), group=group)


class Kafka:
    """The groups that have members, what these read, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: dict[str, set[str]] = {}
        self.is_away, self.asked, self.now_s = False, 0, 100.0
        monkeypatch.setattr(worker_status, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def topics_read(self, is_wanted: Callable[[str], bool]) -> Future[dict[str, set[str]]]:
        self.asked += 1
        answer = Future[dict[str, set[str]]]()
        if self.is_away:
            answer.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
        else:
            answer.set_result({one: read for one, read in self.groups.items() if is_wanted(one)})
        return answer

    def of(self, group: str, stages: Collection[str] = STAGES) -> OtherGroups:
        offsets: Any = self
        made = OtherGroups(group, stages, JUDGED_BY, offsets)
        assert made.are_first("combiner") is None
        made.ask()
        return made

    def wait(self, groups: OtherGroups, seconds: float) -> None:
        self.now_s += seconds
        groups.ask()


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    return Kafka(monkeypatch)


def test_of_two_groups_with_one_stage_the_later_name_is_not_ready(kafka: Kafka) -> None:
    kafka.groups = {"worker": BOTH, "worker-spam": POSTS}
    first, second = kafka.of("worker"), kafka.of("worker-spam", {"spam"})
    assert first.ready_reason() == ""
    assert second.ready_reason() == (
        "the group `worker` runs spam, too, and both write the results: stop the workers of one"
        " group, `worker` or `worker-spam`; `feedmill groups describe` lists them"
    )
    # Its members left.
    del kafka.groups["worker"]
    kafka.wait(second, 4.9)
    assert second.ready_reason() != ""
    kafka.wait(second, 0.2)
    assert second.ready_reason() == ""


@pytest.mark.parametrize(
    ("stage", "group"),
    [
        ("combiner", "!"),
        ("combiner", ""),
        # A group that has members, and before `worker` in order: that of a signal of one's own.
        ("combiner", "signals.novelty"),
        ("spam", "signals.novelty"),
        # Names that workers could have, of groups without members.
        ("combiner", "worker"),
        ("spam", "worker-nsfw-quality"),
        # Groups that run, and do not judge by that stage, or do not rank.
        ("spam", "worker-nsfw"),
        ("combiner", "worker-quality"),
        ("spam", "worker-spam-spam"),
    ],
)
def test_a_heartbeat_that_lies_stops_nothing(
    kafka: Kafka, stage: str, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("!", "", "signals.novelty", "worker-nsfw", "worker-spam-spam"):
        kafka.groups[name] = BOTH if name != "worker-nsfw" else POSTS
    kafka.groups["worker-quality"] = POSTS
    groups = kafka.of("worker-spam", {"spam", "combiner"})
    groups.heartbeat(beat(stage, group), 1000)
    kafka.wait(groups, 1)
    assert groups.ready_reason() == ""
    assert groups.are_first("combiner") is False
    assert not caplog.records


def test_a_heartbeat_has_kafka_asked_at_most_once_a_second(kafka: Kafka) -> None:
    groups = kafka.of("worker-spam", {"spam", "combiner"})
    kafka.wait(groups, 1_000)
    assert kafka.asked == 1
    for _ in range(20):
        groups.heartbeat(beat("combiner", "worker"), 1000)
        kafka.wait(groups, 0.1)
    assert 2 <= kafka.asked <= 3
    kafka.groups["worker"] = BOTH
    groups.heartbeat(beat("combiner", "worker"), 1000)
    assert groups.are_first("combiner") is False
    kafka.wait(groups, 1)
    assert groups.are_first("combiner") is True
    for one in (beat("nsfw", "worker"), beat("combiner", "worker-spam"), beat("combiner", "!")):
        asked = kafka.asked
        groups.heartbeat(one, 1000)
        kafka.wait(groups, 1)
        assert kafka.asked == asked


def test_until_kafka_has_answered_nobody_knows(kafka: Kafka) -> None:
    """Who ranks goes on, and who does not rank yet does not begin."""
    kafka.is_away = True
    groups = kafka.of("worker-spam", {"spam", "combiner"})
    assert groups.are_first("combiner") is None
    assert groups.ready_reason() == ""
    kafka.is_away, kafka.groups = False, {"worker": set()}
    kafka.wait(groups, 1)
    # Its members wait for their partitions.
    assert groups.are_first("combiner") is True
    kafka.is_away = True
    kafka.wait(groups, 5)
    assert groups.are_first("combiner") is True


@pytest.mark.parametrize(
    ("mine", "stages", "other", "theirs", "refused"),
    [
        # A ranker, a judge or both beside a group of a part.
        ("worker-spam", ("spam", "combiner"), "worker", {"feed-shards"}, "combiner"),
        ("worker-spam", ("spam", "combiner"), "worker", POSTS, "spam"),
        ("worker-spam", ("spam",), "worker", BOTH, "spam"),
        ("worker-spam", ("spam",), "worker", {"feed-shards"}, None),
        # Groups of other parts, one with the combiner or both.
        ("worker-spam", ("spam", "combiner"), "worker-quality", POSTS, None),
        ("worker-spam", ("spam", "combiner"), "worker-quality", BOTH, "combiner"),
        # One group: a judge beside rankers and whole workers.
        ("worker", ("spam", "quality"), "worker", BOTH, None),
        ("worker", ("combiner",), "worker", BOTH, None),
    ],
)
def test_one_group_runs_a_stage_and_one_ranks(
    kafka: Kafka,
    mine: str,
    stages: tuple[str, ...],
    other: str,
    theirs: set[str],
    refused: str | None,
) -> None:
    kafka.groups = {other: theirs}
    groups = kafka.of(mine, stages)
    reason = groups.ready_reason()
    assert reason == "" if refused is None else f"`{other}` runs {refused}," in reason
    both_rank = other != mine and "combiner" in stages and "feed-shards" in theirs
    assert groups.are_first("combiner") == (both_rank and other < mine)


def test_both_log_it_when_the_other_one_comes(
    kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    groups = kafka.of("worker")
    with caplog.at_level(logging.ERROR):
        for others in ({"worker-spam": POSTS}, {"worker-spam": POSTS}, {}, {"worker-spam": POSTS}):
            kafka.groups = others
            groups.heartbeat(beat("spam", "worker-spam"), 1000)
            kafka.wait(groups, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "the group `worker-spam` runs spam, too" in caplog.text
