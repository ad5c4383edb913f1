"""Two consumer groups with a stage in common."""

import logging

import pytest

from feedmill.events.instance import Instance
from feedmill.streams.worker.worker_status import OtherGroups

STAGES = {"spam", "quality"}


def beat(stage: str, group: str, instance: str = "i2") -> Instance:
    return Instance(*(stage, instance, "host-2", 1, "test", -1, (), {}, True, 0, 0), group=group)


def test_of_two_groups_with_one_stage_the_later_name_is_not_ready() -> None:
    first, second = OtherGroups("worker", STAGES), OtherGroups("worker-spam", {"spam"})
    first.heartbeat(beat("spam", "worker-spam"), 1000)
    for stage in ("spam", "quality"):
        second.heartbeat(beat(stage, "worker", "i1"), 1000)
    assert first.ready_reason(1000) == ""
    assert second.ready_reason(1000) == (
        "the group `worker` runs the stage spam, too (instance i1 on host-2), and both write its"
        " results: stop the workers of one group, `worker` or `worker-spam`"
    )
    # Once the other one is silent for as long as a dead one is.
    assert second.ready_reason(16_000) != ""
    assert second.ready_reason(16_001) == ""


def test_the_same_group_other_stages_and_other_programs_are_no_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    groups = OtherGroups("worker-spam", {"spam"})
    for stage, group in (("spam", "worker-spam"), ("quality", "worker-quality"), ("spam", "")):
        groups.heartbeat(beat(stage, group), 1000)
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
    groups = OtherGroups(mine, stages)
    for stage in theirs:
        groups.heartbeat(beat(stage, other, "i1"), 1000)
    reason = groups.ready_reason(1000)
    assert reason == "" if refused is None else f"`{other}` runs the stage {refused}," in reason
    both_rank = other != mine and "combiner" in stages and "combiner" in theirs
    assert groups.are_first("combiner", 1000) == (both_rank and other < mine)


def test_both_log_it_when_the_other_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    groups = OtherGroups("worker", STAGES)
    with caplog.at_level(logging.ERROR):
        for at_ms in (20_000, 25_000, 30_000, 60_000):
            groups.heartbeat(beat("spam", "worker-spam"), at_ms)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "the group `worker-spam` runs the stage spam, too" in caplog.text
