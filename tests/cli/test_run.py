import asyncio
from typing import Any

import click
import pytest

from feedmill.cli.options import installation_flags
from feedmill.cli.run import _print_addresses, _scaled, wait_until_ready
from feedmill.deploy.supervisor import Supervisor, WorkerSpec, by_role, isolated
from feedmill.events.signal import SignalNames
from feedmill.streams.environment import Environment
from feedmill.streams.flow import STAGES, group_of, role_of

REASON = "spam: down, is restarted"


class FakeSupervisor:
    """Its stages are ready once the reason has been asked for so many times."""

    def __init__(self, ready_after: int) -> None:
        self.ready_after = ready_after
        self.is_ready = asyncio.Event()

    def ready_reason(self) -> str:
        self.ready_after -= 1
        if self.ready_after == 0:
            self.is_ready.set()
        return REASON

    async def wait_ready(self) -> None:
        if self.ready_after > 0:
            await self.is_ready.wait()


def wait(ready_after: int, *, timeout_s: float = 600, supervising: Any = None) -> None:
    """Wait for a supervisor, reporting as often as the loop turns."""

    async def run() -> None:
        supervisor: Any = FakeSupervisor(ready_after)
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = never if supervising is None else asyncio.ensure_future(supervising)
        await wait_until_ready(supervisor, task, timeout_s, report_every_s=0.001)

    asyncio.run(run())


def test_ready_stages_are_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    wait(0)
    assert capsys.readouterr() == ("", "")


def test_it_reports_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    wait(3)
    assert capsys.readouterr().err.splitlines() == [f"waiting for {REASON}"] * 3


def test_it_goes_on_without_a_stage_that_never_gets_ready(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wait(10**9, timeout_s=0)
    assert capsys.readouterr().err == f"not ready after 0 s, going on without {REASON}\n"


def test_what_ends_the_supervisor_is_raised() -> None:
    async def fail() -> None:
        raise OSError("the port is taken")

    with pytest.raises(OSError, match="the port is taken"):
        wait(10**9, supervising=fail())


def test_every_kind_has_one_worker_unless_it_is_scaled() -> None:
    whole = WorkerSpec("worker", STAGES)
    assert _scaled([], [whole]) == [whole]
    assert _scaled(["worker=2"], [whole]) == [whole, whole]
    apart = isolated(STAGES)
    scaled = [kind.name for kind in _scaled(["spam=3", "combiner=2"], apart)]
    assert {name: scaled.count(name) for name in STAGES} == {
        **dict.fromkeys(STAGES, 1),
        "spam": 3,
        "combiner": 2,
    }


@pytest.mark.parametrize("scale", ["spam", "spam=0", "spam=65", "spam=-1", "spam=two", "worker=2"])
def test_another_scale_is_wrong_use(scale: str) -> None:
    with pytest.raises(click.BadParameter, match=r"N from 1 to 64, got"):
        _scaled([scale], isolated(STAGES))


def test_judges_judge_by_all_stages_that_do_and_rankers_rank() -> None:
    judge, ranker = WorkerSpec("judge", STAGES[:-1]), WorkerSpec("ranker", STAGES[-1:])
    assert by_role(STAGES, judges=2, rankers=1) == [judge, judge, ranker]
    names = SignalNames()
    assert {group_of(one.stages, names) for one in (judge, ranker)} == {"worker"}
    assert [role_of(one) for one in (judge.stages, ranker.stages, STAGES)] == [
        *("judge", "ranker", "worker")
    ]


def test_what_it_tells_to_paste_is_about_this_installation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert installation_flags(Environment()) == ""
    given = Environment(
        kafka="kafka-1:9092,kafka-2:9092",
        redis="redis://me:secret@cache:6379/1",
        topic_prefix="iso.",
        redis_prefix="iso two.",
    )
    flags = installation_flags(given)
    assert flags == (
        " --kafka kafka-1:9092,kafka-2:9092 --redis redis://cache:6379/1 --prefix iso."
        " --redis-prefix 'iso two.'"
    )
    _print_addresses(given, Supervisor(given, isolated(["spam"])), flags)
    assert f"feedmill config set weights alpha=0.1 beta=0.9{flags}\n" in capsys.readouterr().out
