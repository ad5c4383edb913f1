"""Two consumer groups with a stage in common: a heartbeat names the other, Kafka proves it."""

import logging
from collections.abc import Collection
from concurrent.futures import Future
from functools import partial

import pytest
from confluent_kafka import KafkaError, KafkaException

from feedmill.events.instance import Instance
from feedmill.streams.flow import judged_by
from feedmill.streams.settings.environment import Environment
from feedmill.streams.worker.other_groups import OtherGroups

STAGES = {"spam", "quality"}
BOTH = {"posts", "feed-shards"}
JUDGED_BY = partial(judged_by, environment=Environment(topic_prefix=""))


def beat(stage: str, group: str, instance: str = "i2") -> Instance:
    return Instance(*(stage, instance, "host-2", 1, "test", -1, (), {}, True, 0, 0), group=group)


class Kafka:
    """What the members of each group read; None: they wait for their partitions."""

    def __init__(self, **groups: set[str] | None) -> None:
        self.groups = {name.replace("_", "-"): topics for name, topics in groups.items()}
        self.asked: list[Collection[str]] = []
        self.is_away = self.is_listed = False

    def group_names(self) -> Future[list[str]]:
        answer = Future[list[str]]()
        answer.set_result([*self.groups] if self.is_listed else [])
        return answer

    def topics_read(self, groups: Collection[str]) -> Future[dict[str, set[str]]]:
        self.asked.append(groups)
        answer = Future[dict[str, set[str]]]()
        if self.is_away:
            answer.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
        else:
            found = {group: self.groups.get(group, set()) for group in groups}
            answer.set_result({group: t for group, t in found.items() if t is not None})
        return answer


def groups_of(kafka: Kafka, group: str, stages: Collection[str] = STAGES) -> OtherGroups:
    return OtherGroups(group, stages, JUDGED_BY, kafka)


def hear(groups: OtherGroups, *beats: Instance, at_ms: int = 1000) -> None:
    """Hear heartbeats; Kafka is asked and answers."""
    for one in beats:
        groups.heartbeat(one, at_ms)
    groups.follow(at_ms)
    groups.follow(at_ms)


def test_of_two_groups_with_one_stage_the_later_name_is_not_ready() -> None:
    kafka = Kafka(worker=BOTH, worker_spam={"posts"})
    first, second = groups_of(kafka, "worker"), groups_of(kafka, "worker-spam", {"spam"})
    hear(first, beat("spam", "worker-spam"))
    hear(second, *(beat(stage, "worker", "i1") for stage in ("spam", "quality")))
    assert first.ready_reason(1000) == ""
    assert second.ready_reason(1000) == (
        "the group `worker` runs the stage spam, too (instance i1 on host-2), and both write its"
        " results: stop the workers of one group, `worker` or `worker-spam`"
    )
    # Once the other one is silent for as long as a dead one is.
    assert second.ready_reason(16_000) != ""
    assert second.ready_reason(16_001) == ""


@pytest.mark.parametrize(
    ("stage", "group"),
    [
        ("combiner", "!"),
        ("combiner", ""),
        # A group that has members, and before `worker` in order: that of a signal of one's own.
        ("combiner", "signals.novelty"),
        ("spam", "signals.novelty"),
        # Names that workers could have, of groups without members.
        ("combiner", "worker-nsfw"),
        ("spam", "worker-nsfw-quality"),
        # A group that runs, and does not judge by that stage, or does not rank.
        ("spam", "worker-nsfw"),
        ("combiner", "worker-quality"),
        ("spam", "worker-spam-spam"),
    ],
)
def test_a_heartbeat_that_lies_stops_nothing(
    stage: str, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = Kafka(worker_quality={"posts"}, worker_spam_spam=BOTH)
    kafka.groups["signals.novelty"] = kafka.groups["!"] = kafka.groups[""] = BOTH
    if (stage, group) == ("spam", "worker-nsfw"):
        kafka.groups["worker-nsfw"] = BOTH
    groups = groups_of(kafka, "worker-spam", {"spam", "combiner"})
    hear(groups, beat(stage, group))
    assert groups.ready_reason(1000) == ""
    assert groups.are_first("combiner", 1000) is False
    assert not caplog.records


def test_until_kafka_has_said_whether_it_is_true_nobody_knows() -> None:
    """Who ranks goes on, and who does not rank yet does not begin."""
    kafka = Kafka(worker=None)
    groups = groups_of(kafka, "worker-spam", {"spam", "combiner"})
    hear(groups, beat("combiner", "worker"))
    assert groups.are_first("combiner", 1000) is None
    assert groups.ready_reason(1000) == ""
    kafka.groups["worker"], kafka.is_away = BOTH, True
    hear(groups)
    assert groups.are_first("combiner", 1000) is None
    kafka.is_away = False
    hear(groups)
    hear(groups)
    assert groups.are_first("combiner", 1000) is True
    asked = len(kafka.asked)
    hear(groups)
    assert len(kafka.asked) == asked, "once it is known Kafka is asked at the next heartbeat"
    # The members left; who wrote that heartbeat did not know, or lied.
    kafka.groups["worker"] = set()
    hear(groups, beat("combiner", "worker"), at_ms=6_000)
    assert groups.are_first("combiner", 6_000) is False
    # What was known of a group that was silent for long is forgotten.
    groups.heartbeat(beat("combiner", "worker"), 30_000)
    assert groups.are_first("combiner", 30_000) is None


def test_who_starts_learns_from_kafka_which_groups_there_are_before_it_ranks() -> None:
    kafka = Kafka(worker={"feed-shards"}, worker_quality={"posts"}, worker_nsfw=set())
    kafka.is_listed = True
    groups = groups_of(kafka, "worker-spam", {"spam", "combiner"})
    assert groups.are_first("combiner", 1000) is None
    hear(groups)
    assert kafka.asked == [["worker", "worker-nsfw", "worker-quality"]]
    assert groups.are_first("combiner", 1000) is True
    assert groups.ready_reason(1000).startswith(
        "the group `worker` runs the stage combiner, too, and both write its results"
    )
    assert groups.are_first("combiner", 16_001) is False


def test_the_same_group_other_stages_and_other_programs_are_no_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    groups = groups_of(Kafka(worker_quality=BOTH), "worker-spam", {"spam"})
    for stage, group in (("spam", "worker-spam"), ("quality", "worker-quality"), ("spam", "")):
        hear(groups, beat(stage, group))
    assert groups.ready_reason(1000) == ""
    assert not caplog.records


@pytest.mark.parametrize(
    ("mine", "stages", "other", "theirs", "refused"),
    [
        # A ranker, a judge or both beside a group of a part.
        ("worker-spam", ("spam", "combiner"), "worker", ("combiner",), "combiner"),
        ("worker-spam", ("spam", "combiner"), "worker", ("spam", "quality"), "spam"),
        ("worker-spam", ("spam",), "worker", ("spam", "quality", "combiner"), "spam"),
        ("worker-spam", ("spam",), "worker", ("combiner",), None),
        # Groups of other parts, one with the combiner or both.
        ("worker-spam", ("spam", "combiner"), "worker-quality", ("quality",), None),
        (
            "worker-spam",
            ("spam", "combiner"),
            "worker-quality",
            ("quality", "combiner"),
            "combiner",
        ),
        # One group: a judge beside rankers and whole workers.
        ("worker", ("spam", "quality"), "worker", ("spam", "quality", "combiner"), None),
        ("worker", ("combiner",), "worker", ("spam", "quality", "combiner"), None),
    ],
)
def test_one_group_runs_a_stage_and_one_ranks(
    mine: str, stages: tuple[str, ...], other: str, theirs: tuple[str, ...], refused: str | None
) -> None:
    topics = {"feed-shards" if stage == "combiner" else "posts" for stage in theirs}
    groups = groups_of(Kafka(**{other.replace("-", "_"): topics}), mine, stages)
    hear(groups, *(beat(stage, other, "i1") for stage in theirs))
    reason = groups.ready_reason(1000)
    assert reason == "" if refused is None else f"`{other}` runs the stage {refused}," in reason
    both_rank = other != mine and "combiner" in stages and "combiner" in theirs
    assert groups.are_first("combiner", 1000) == (both_rank and other < mine)


def test_both_log_it_when_the_other_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    groups = groups_of(Kafka(worker_spam={"posts"}), "worker")
    with caplog.at_level(logging.ERROR):
        for at_ms in (20_000, 25_000, 30_000, 60_000):
            hear(groups, beat("spam", "worker-spam"), at_ms=at_ms)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "the group `worker-spam` runs the stage spam, too" in caplog.text
