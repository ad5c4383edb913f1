"""The supervisor over processes that only pretend to be workers."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from feedmill.deploy import supervisor as supervisor_module
from feedmill.deploy.local.process import write_atomically
from feedmill.deploy.supervisor import Supervisor, WorkerProcess, isolated
from feedmill.events.errors import FeedmillError
from feedmill.streams.environment import Environment
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.observe.status import Status, encode
from feedmill.streams.worker.watchdog import EXIT_STALLED
from feedmill.streams.worker_process import CANNOT_START

# Notes its variables and each start, reports what `reports.json` has, then does what
# `<stage>.behaviour` says: "run" until SIGTERM, "ignore" SIGTERM, or end with an exit code.
SCRIPT = """#!{python}
import json, os, pathlib, signal, sys, time
folder, stage = pathlib.Path({folder!r}), sys.argv[-1]
behaviour = (folder / f"{{stage}}.behaviour").read_text()
if behaviour == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
unfinished = folder / f"{{os.getpid()}}.new"
unfinished.write_text(json.dumps(dict(os.environ)))
unfinished.replace(folder / f"{{stage}}-{{os.getpid()}}.json")
print("hello from", stage, flush=True)
pipe = int(os.environ["FEEDMILL_STATUS_FD"])
for line in json.loads((folder / "reports.json").read_text()):
    os.write(pipe, line.encode() + b"\\n")
if behaviour not in ("run", "ignore"):
    sys.exit(int(behaviour))
while True:
    time.sleep(0.01)
"""


def report(not_ready: str = "", metrics: str = "") -> str:
    return encode(Status(not_ready, metrics)).decode()


class Folder:
    """Where the pretended stages find out what to do, and leave what they saw."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reports(report())

    def behave(self, stage: str, behaviour: str) -> None:
        write_atomically(self.path / f"{stage}.behaviour", behaviour)

    def reports(self, *lines: str) -> None:
        (self.path / "reports.json").write_text(json.dumps(lines))

    def starts(self, stage: str) -> list[dict[str, str]]:
        """The variables of each process of this stage."""
        return [json.loads(p.read_text()) for p in self.path.glob(f"{stage}-*.json")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    script = tmp_path / "python"
    script.write_text(SCRIPT.format(python=sys.executable, folder=str(tmp_path)))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(supervisor_module, "_MIN_PAUSE_S", 0.01)
    return Folder(tmp_path)


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, condition
        await asyncio.sleep(0.01)


def supervised(supervisor: Supervisor, check: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the supervisor beside the check, and stop it after."""

    async def run() -> None:
        running = asyncio.ensure_future(supervisor.run())
        try:
            await check()
        finally:
            supervisor.stopping.set()
            await running

    asyncio.run(run())


def test_it_is_ready_once_every_stage_has_reported_so(folder: Folder) -> None:
    for stage in ("spam", "nsfw"):
        folder.behave(stage, "run")
    supervisor = Supervisor(Environment(), isolated(["spam", "nsfw"]), folder.path / "logs")
    assert supervisor.ready_reason() == ("spam: down, is restarted; nsfw: down, is restarted")

    async def check() -> None:
        await asyncio.wait_for(supervisor.wait_ready(), 60)
        assert supervisor.ready_reason() == ""

    supervised(supervisor, check)
    assert len(folder.starts("spam")) == len(folder.starts("nsfw")) == 1
    assert all(child.process and child.process.returncode == 0 for child in supervisor.children)


def test_the_last_report_counts_and_a_broken_line_does_not(folder: Folder) -> None:
    folder.behave("spam", "run")
    folder.reports(report("reads config"), report("3 behind"), "{broken")
    supervisor = Supervisor(Environment(), isolated(["spam"]), folder.path / "logs")

    async def check() -> None:
        await until(lambda: "3 behind" in supervisor.ready_reason())
        assert supervisor.ready_reason() == "spam: 3 behind"

    supervised(supervisor, check)


def test_a_stage_that_ends_is_restarted_and_the_others_go_on(folder: Folder) -> None:
    folder.behave("spam", str(EXIT_STALLED))
    folder.behave("nsfw", "run")
    supervisor = Supervisor(Environment(), isolated(["spam", "nsfw"]), folder.path / "logs")

    async def check() -> None:
        await until(lambda: len(folder.starts("spam")) >= 3)
        folder.behave("spam", "run")
        await asyncio.wait_for(supervisor.wait_ready(), 60)

    supervised(supervisor, check)
    failing, steady = supervisor.children
    assert failing.restarts == len(folder.starts("spam")) - 1 >= 2
    assert steady.restarts == 0
    text = supervisor.metrics.text()
    assert 'feedmill_worker_restarts_total{child="spam"' in text
    assert 'child="nsfw"' not in text


def failure(text: str) -> str:
    return encode(Status(text, "", error=text)).decode()


def test_a_stage_that_cannot_start_is_not_restarted_and_says_why(folder: Folder) -> None:
    folder.behave("spam", str(CANNOT_START))
    folder.behave("nsfw", "run")
    folder.reports(failure("no artifact at models/"))
    supervisor = Supervisor(Environment(), isolated(["spam", "nsfw"]), folder.path / "logs")

    async def check() -> None:
        await until(lambda: supervisor.children[0].cannot_start)
        await until(lambda: supervisor.children[1].status)
        assert supervisor.ready_reason().startswith(
            "spam: cannot start: no artifact at models/; nsfw: "
        )

    supervised(supervisor, check)
    assert len(folder.starts("spam")) == len(folder.starts("nsfw")) == 1
    assert supervisor.children[0].restarts == 0


def test_a_supervisor_of_what_cannot_start_ends_with_the_reasons(folder: Folder) -> None:
    folder.behave("spam", str(CANNOT_START))
    folder.reports(failure("no artifact at models/"))
    supervisor = Supervisor(Environment(), isolated(["spam"]), folder.path / "logs")
    with pytest.raises(FeedmillError, match=r"^spam: cannot start: no artifact at models/$"):
        asyncio.run(asyncio.wait_for(supervisor.run(), 60))
    assert len(folder.starts("spam")) == 1


def test_what_made_a_stage_fail_is_said_while_it_is_restarted(folder: Folder) -> None:
    folder.behave("spam", "1")
    folder.reports(report(), failure("the store does not answer"))
    supervisor = Supervisor(Environment(), isolated(["spam"]), folder.path / "logs")
    expected = "spam: down, is restarted: the store does not answer"

    async def check() -> None:
        await until(lambda: supervisor.ready_reason() == expected)
        await until(lambda: len(folder.starts("spam")) >= 2)

    supervised(supervisor, check)


def test_a_stage_that_does_not_stop_is_killed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_WITHIN_S", 0.05)
    folder.behave("spam", "ignore")
    supervisor = Supervisor(Environment(), isolated(["spam"]), folder.path / "logs")
    supervised(supervisor, supervisor.wait_ready)
    process = supervisor.children[0].process
    assert process is not None
    assert process.returncode == -signal.SIGKILL


def test_each_instance_of_a_stage_has_its_name_and_its_log(folder: Folder) -> None:
    folder.behave("spam", "run")
    folder.behave("nsfw", "run")
    supervisor = Supervisor(Environment(), isolated(["spam", "nsfw", "spam"]), folder.path / "logs")
    assert [child.name for child in supervisor.children] == ["spam-0", "nsfw", "spam-2"]
    supervised(supervisor, supervisor.wait_ready)
    logs = {path.name: path.read_text() for path in (folder.path / "logs").iterdir()}
    assert logs == {
        "spam-0.log": "hello from spam\n",
        "nsfw.log": "hello from nsfw\n",
        "spam-2.log": "hello from spam\n",
    }


def test_a_stage_gets_the_environment_but_neither_name_nor_port(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.behave("spam", "run")
    monkeypatch.setenv("FEEDMILL_INSTANCE", "supervisor-1")
    monkeypatch.setenv("FEEDMILL_PORT", "9000")
    monkeypatch.setenv("FEEDMILL_KAFKA", "inherited:1")
    monkeypatch.setenv("UNRELATED", "kept")
    supervisor = Supervisor(Environment(kafka="given:1"), isolated(["spam"]), folder.path / "logs")
    supervised(supervisor, supervisor.wait_ready)
    (variables,) = folder.starts("spam")
    assert not {"FEEDMILL_INSTANCE", "FEEDMILL_PORT"} & set(variables)
    assert (variables["FEEDMILL_KAFKA"], variables["UNRELATED"]) == ("given:1", "kept")
    assert variables["OMP_NUM_THREADS"] == "1"


def test_its_metrics_are_those_of_all_stages(folder: Folder) -> None:
    folder.behave("spam", "run")
    metrics = Metrics("spam", "i")
    metrics.set("feedmill_lag", 5)
    folder.reports(report(metrics=metrics.text()))
    supervisor = Supervisor(Environment(), isolated(["spam"]), folder.path / "logs")
    supervisor.metrics.add("feedmill_worker_restarts_total", child="spam")
    supervised(supervisor, supervisor.wait_ready)
    text = supervisor._metrics_text()
    assert 'feedmill_lag{instance="i",stage="spam"} 5.0' in text
    assert "feedmill_worker_restarts_total" in text


def test_waiting_for_ready_ends_when_it_is_stopped() -> None:
    supervisor = Supervisor(Environment(), isolated(["spam"]))
    supervisor.stopping.set()
    asyncio.run(asyncio.wait_for(supervisor.wait_ready(), 60))


# --- why a stage is not ready -----------------------------------------------------------------


class FakeProcess:
    def __init__(self, returncode: int | None) -> None:
        self.returncode = returncode


@pytest.mark.parametrize(
    ("returncode", "not_ready", "age_s", "reason"),
    [
        (1, "", 0.0, "spam: down, is restarted"),
        (None, None, 0.0, "spam: starting"),
        (None, "2 behind", 0.0, "spam: 2 behind"),
        (None, "", 0.0, ""),
        (None, "", 15.0, ""),
        (None, "", 15.6, "spam: no report for 16 s"),
    ],
)
def test_a_stage_is_not_ready_for_one_reason(
    returncode: int | None,
    not_ready: str | None,
    age_s: float,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    process: Any = FakeProcess(returncode)
    status = None if not_ready is None else Status(not_ready, "")
    reported_at = 1000.0 - age_s
    child = WorkerProcess("spam", ("spam",), process, status, reported_at)
    assert child.not_ready_reason() == reason
