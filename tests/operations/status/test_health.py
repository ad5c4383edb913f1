"""What `feedmill health` shows below the findings."""

from typing import Any

import msgspec

from feedmill.events.instance import Instance, LegTimes
from feedmill.operations.status.health import running_workers, worst_legs
from feedmill.operations.status.heartbeats import Beat, Running

NOW_MS = 1_790_000_000_000


def instance(stage: str, name: str, pid: int = 7, **more: Any) -> Instance:
    one = Instance(*(stage, name, "host", pid, "0.2", -1, (), {}, True, 0, NOW_MS), group="worker")
    return msgspec.structs.replace(one, **more)


def test_stages_of_one_process_are_one_worker_and_a_restarted_one_is_another() -> None:
    beats = (
        Beat(NOW_MS - 4_000, instance("spam", "one")),
        Beat(NOW_MS - 3_000, instance("nsfw", "one", lag=3)),
        Beat(NOW_MS - 1_000, instance("quality", "one", pid=8)),
        Beat(NOW_MS - 90_000, instance("spam", "gone")),
    )
    workers = [
        (one.one.instance, one.one.pid, one.stages, one.age_ms)
        for one in running_workers(Running(NOW_MS, beats))
    ]
    assert workers == [("one", 7, ("nsfw", "spam"), 3_000), ("one", 8, ("quality",), 1_000)]


def test_a_leg_is_that_of_the_slowest_and_the_rate_of_all() -> None:
    one = instance("spam", "one", legs={"posts": {"append_to_fetch": LegTimes(1, 9, 10)}})
    two = instance("spam", "two", legs={"posts": {"append_to_fetch": LegTimes(2, 4, 5)}})
    found = worst_legs([one, two, instance("spam", "three")])
    assert found == {"posts": {"append_to_fetch": LegTimes(2, 9, 15)}}
