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


def test_both_log_it_when_the_other_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    groups = OtherGroups("worker", STAGES)
    with caplog.at_level(logging.ERROR):
        for at_ms in (20_000, 25_000, 30_000, 60_000):
            groups.heartbeat(beat("spam", "worker-spam"), at_ms)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "the group `worker-spam` runs the stage spam, too" in caplog.text
