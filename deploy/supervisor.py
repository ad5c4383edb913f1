"""One process a stage: a stage that dies is started again, and spares the others."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from feedmill.streams.observe.http import StatusServer
from feedmill.streams.observe.metrics import Metrics, merge
from feedmill.streams.observe.status import STATUS_FD, Status, decode
from feedmill.streams.settings.environment import Environment, environment_variables

log = logging.getLogger(__name__)

STOP_WITHIN_S = 10.0
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.5, 30.0
_SETTLED_S = 30.0
_SILENT_S = 15.0


@dataclass
class StageProcess:
    """A stage's process, and what it last said of itself."""

    stage: str
    name: str
    process: asyncio.subprocess.Process | None = None
    status: Status | None = None
    heard_at: float = 0.0
    restarts: int = 0
    log_file: IO[bytes] | None = field(default=None, repr=False)

    def reason(self) -> str:
        """Say why it is not ready; "" when it is."""
        if self.process is None or self.process.returncode is not None:
            return f"{self.name}: down, starting again"
        if self.status is None:
            return f"{self.name}: starting"
        if time.monotonic() - self.heard_at > _SILENT_S:
            return f"{self.name}: silent for {time.monotonic() - self.heard_at:.0f} s"
        return f"{self.name}: {self.status.not_ready}" if self.status.not_ready else ""


class Supervisor:
    """Runs stages as processes of their own until it is told to stop.

    `logs` is a folder for one file a stage; None leaves their output on stderr.
    The supervisor alone listens on the environment's port.
    """

    def __init__(
        self, environment: Environment, stages: Sequence[str], logs: Path | None = None
    ) -> None:
        self.environment = environment
        self.stopping = asyncio.Event()
        self.metrics = Metrics("supervisor", environment.instance)
        self.children = [
            StageProcess(stage, stage if stages.count(stage) == 1 else f"{stage}-{i}")
            for i, stage in enumerate(stages)
        ]
        self.web = StatusServer(self.ready_reason, self._metrics_text)
        self._logs = logs

    def ready_reason(self) -> str:
        """Say which stages are not ready and why; "" when all are."""
        return "; ".join(filter(None, (child.reason() for child in self.children)))

    async def run(self) -> None:
        """Start all, keep them running, and stop all once `stopping` is set."""
        environment = self.environment
        if environment.port is not None:
            await self.web.start(environment.host, environment.port)
            log.info("http://%s:%d/metrics", environment.host, self.web.port)
        try:
            await asyncio.gather(*(self._keep(child) for child in self.children))
        finally:
            await self.web.stop()

    async def wait_ready(self) -> None:
        """Return when every stage is ready, or the stop has begun."""
        while self.ready_reason() and not self.stopping.is_set():  # noqa: ASYNC110 - six sources
            await asyncio.sleep(0.1)

    async def _keep(self, child: StageProcess) -> None:
        pause_s = _LEAST_PAUSE_S
        while not self.stopping.is_set():
            started = time.monotonic()
            code = await self._run_once(child)
            if self.stopping.is_set():
                return
            child.restarts += 1
            self.metrics.add("feedmill_stage_restarts_total", child=child.name)
            lived_s = time.monotonic() - started
            pause_s = _LEAST_PAUSE_S if lived_s > _SETTLED_S else min(pause_s * 2, _MOST_PAUSE_S)
            log.warning("%s ended with %s, starting it again in %.1f s", child.name, code, pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause_s)

    async def _run_once(self, child: StageProcess) -> int:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        child.status = None
        try:
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "feedmill.streams.stages.process",
                child.stage,
                pass_fds=(writing,),
                env=self._child_environment(writing),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._output(child),
                stderr=self._output(child),
                # A Ctrl-C in the terminal is the supervisor's to pass on.
                start_new_session=True,
            )
        finally:
            os.close(writing)
        listening = asyncio.ensure_future(self._listen(child, reading))
        stop = asyncio.ensure_future(self.stopping.wait())
        ended = asyncio.ensure_future(child.process.wait())
        await asyncio.wait((stop, ended), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await self._end(child, ended)
        stop.cancel()
        listening.cancel()
        await asyncio.gather(stop, listening, return_exceptions=True)
        return await ended

    async def _end(self, child: StageProcess, ended: asyncio.Future[int]) -> None:
        process = child.process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait((ended,), timeout=STOP_WITHIN_S)
        if not done:
            log.warning("%s did not stop within %.0f s: killed", child.name, STOP_WITHIN_S)
            process.kill()

    async def _listen(self, child: StageProcess, pipe: int) -> None:
        reader = asyncio.StreamReader(limit=4 * 1024 * 1024)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
        )
        try:
            while line := await reader.readline():
                with suppress(msgspec.DecodeError):
                    child.status = decode(line)
                    child.heard_at = time.monotonic()
        finally:
            transport.close()

    def _child_environment(self, pipe: int) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            # Each child names itself, and only the supervisor listens.
            if name not in ("FEEDMILL_INSTANCE", "FEEDMILL_PORT")
        }
        return {
            **kept,
            **environment_variables(self.environment),
            STATUS_FD: str(pipe),
            # One thread a stage: batches are small, and the stages share the processors.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def _output(self, child: StageProcess) -> IO[bytes] | None:
        if self._logs is None:
            return None
        if child.log_file is None:
            self._logs.mkdir(parents=True, exist_ok=True)
            child.log_file = (self._logs / f"{child.name}.log").open("ab")
        return child.log_file

    def _metrics_text(self) -> str:
        texts: Iterable[str] = [c.status.metrics for c in self.children if c.status is not None]
        return merge([self.metrics.text(), *texts])


def stop_on_signals(stopping: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set the event."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
