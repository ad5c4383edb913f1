from __future__ import annotations

import asyncio
from typing import Any

import pytest

from feedmill.cli.run import until_ready


class FakeSupervisor:
    """Stages that are ready once told so."""

    def __init__(self) -> None:
        self.is_ready = asyncio.Event()

    def ready_reason(self) -> str:
        return "" if self.is_ready.is_set() else "spam: down, starting again"

    async def wait_ready(self) -> None:
        await self.is_ready.wait()


def wait(supervisor: Any, supervising: Any, within_s: float, after_s: float) -> None:
    """Wait for stages that are ready, or a supervisor that ends, after some time."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ends = loop.create_future() if supervising is None else asyncio.ensure_future(supervising)
        loop.call_later(after_s, supervisor.is_ready.set)
        await until_ready(supervisor, ends, within_s, tell_every_s=0.02)

    asyncio.run(run())


def test_ready_stages_need_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    wait(FakeSupervisor(), None, within_s=5, after_s=0)
    assert capsys.readouterr() == ("", "")


def test_it_says_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    wait(FakeSupervisor(), None, within_s=5, after_s=0.05)
    assert set(capsys.readouterr().err.splitlines()) == {"waiting for spam: down, starting again"}


def test_it_goes_on_without_a_stage_that_never_comes_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wait(FakeSupervisor(), None, within_s=0.05, after_s=60)
    *waiting, last = capsys.readouterr().err.splitlines()
    assert waiting
    assert last == "not ready after 0 s, going on without spam: down, starting again"


def test_what_ends_the_supervisor_is_raised() -> None:
    async def fail() -> None:
        raise OSError("the port is taken")

    with pytest.raises(OSError, match="the port is taken"):
        wait(FakeSupervisor(), fail(), within_s=5, after_s=60)
