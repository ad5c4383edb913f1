"""Runs workers, each in a process of its own, and restarts those that end."""

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
from typing import IO, NamedTuple

import msgspec

from feedmill.events.errors import FeedmillError
from feedmill.streams.environment import Environment, environment_variables
from feedmill.streams.flow import COMBINER, JUDGE, RANKER
from feedmill.streams.observe.metrics import Metrics, merge
from feedmill.streams.observe.status import STATUS_FD, Status, StatusServer, decode
from feedmill.streams.worker_process import CANNOT_START

log = logging.getLogger(__name__)

STOP_WITHIN_S = 10.0
# The pause before a restart doubles from the first to the second.
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.5, 30.0
# A worker that ran this long starts again after the shortest pause.
_STABLE_AFTER_S = 30.0
# A worker reports every second; one that did not for this long is not ready.
_SILENT_AFTER_S = 15.0
_LAST_REPORT_S = 1.0

_MODULE = "feedmill.streams.worker_process"
_READER_MODULE = "feedmill.readers.reader_process"


class WorkerSpec(NamedTuple):
    """A worker to run: what its process is called, its stages, and the module that runs it.

    A reader has its port in the place of stages.
    """

    name: str
    stages: tuple[str, ...]
    module: str = _MODULE


def isolated(stages: Iterable[str]) -> list[WorkerSpec]:
    """Return a worker for each stage, called like it."""
    return [WorkerSpec(stage, (stage,)) for stage in stages]


def by_role(stages: Sequence[str], judges: int, rankers: int) -> list[WorkerSpec]:
    """Return workers that judge by all of these stages that judge, and workers that rank alone."""
    judging = tuple(stage for stage in stages if stage != COMBINER)
    of_judges, of_rankers = WorkerSpec(JUDGE, judging), WorkerSpec(RANKER, (COMBINER,))
    return [of_judges] * judges + [of_rankers] * rankers


def readers(count: int, first_port: int) -> list[WorkerSpec]:
    """Return readers, each on the port after that of the one before; 0 gives all a free one."""
    ports = [first_port + i if first_port else 0 for i in range(count)]
    return [WorkerSpec("reader", (str(port),), _READER_MODULE) for port in ports]


def _process_name(workers: Sequence[WorkerSpec], i: int) -> str:
    name = workers[i].name
    return f"{name}-{i}" if sum(worker.name == name for worker in workers) > 1 else name


@dataclass
class WorkerProcess:
    """The process of a worker, and the status that it reported last.

    `status` is None, and `reported_at` (monotonic seconds) meaningless, until its first report.
    `error` is why it ended last, in its own words; where it `cannot_start` it is not restarted.
    """

    name: str
    stages: tuple[str, ...]
    process: asyncio.subprocess.Process | None = None
    status: Status | None = None
    reported_at: float = 0.0
    restarts: int = 0
    error: str = ""
    cannot_start: bool = False
    log_file: IO[bytes] | None = field(default=None, repr=False)
    module: str = _MODULE

    def not_ready_reason(self) -> str:
        """Why it is not ready; "" if it is."""
        # On the thread of the HTTP server: each is read once, it may change meanwhile.
        process, status = self.process, self.status
        if process is None or process.returncode is not None:
            state = "cannot start" if self.cannot_start else "down, is restarted"
            return f"{self.name}: {state}" + (f": {self.error}" if self.error else "")
        if status is None:
            return f"{self.name}: starting"
        if time.monotonic() - self.reported_at > _SILENT_AFTER_S:
            return f"{self.name}: no report for {time.monotonic() - self.reported_at:.0f} s"
        return f"{self.name}: {status.not_ready}" if status.not_ready else ""


class Supervisor:
    """Keeps one process per worker running until `stopping` is set.

    Parameters
    ----------
    environment
        For the supervisor and all workers; only the supervisor listens on its port.
    workers
        What to run; processes of workers with the same name are numbered.
    logs
        The folder of the workers' log files, one each; None leaves their output on stderr.
    """

    def __init__(
        self, environment: Environment, workers: Sequence[WorkerSpec], logs: Path | None = None
    ) -> None:
        self.environment = environment
        self.stopping = asyncio.Event()
        self.metrics = Metrics("supervisor", environment.instance)
        self.children = [
            WorkerProcess(_process_name(workers, i), worker.stages, module=worker.module)
            for i, worker in enumerate(workers)
        ]
        self.web = StatusServer(self.ready_reason, self._metrics_text)
        self._logs = logs

    def ready_reason(self) -> str:
        """Which workers are not ready, and why; "" if all are ready."""
        return "; ".join(filter(None, (child.not_ready_reason() for child in self.children)))

    async def run(self) -> None:
        """Start all workers, restart those that end, and stop all once `stopping` is set.

        A worker that cannot start is not restarted; the others go on.

        Raises `UsageError`: the environment's port cannot be used; `FeedmillError`: no worker can
        start; its text has the reasons.
        """
        environment = self.environment
        if environment.port is not None:
            self.web.start(environment.host, environment.port)
            log.info("http://%s:%d/metrics", environment.host, self.web.port)
        try:
            await asyncio.gather(*(self._keep_running(child) for child in self.children))
        finally:
            self.web.stop()
        if not self.stopping.is_set():
            raise FeedmillError(self.ready_reason())

    async def wait_ready(self) -> None:
        """Return when every worker is ready, or `stopping` is set."""
        while self.ready_reason() and not self.stopping.is_set():  # noqa: ASYNC110 - several sources
            await asyncio.sleep(0.1)

    async def _keep_running(self, child: WorkerProcess) -> None:
        pause_s = _MIN_PAUSE_S
        while not self.stopping.is_set():
            start = time.monotonic()
            code = await self._run_once(child)
            if self.stopping.is_set():
                return
            if code == CANNOT_START:
                child.cannot_start = True
                log.error("%s", child.not_ready_reason())
                return
            child.restarts += 1
            self.metrics.add("feedmill_worker_restarts_total", child=child.name)
            ran_s = time.monotonic() - start
            pause_s = _MIN_PAUSE_S if ran_s > _STABLE_AFTER_S else min(pause_s * 2, _MAX_PAUSE_S)
            log.warning("%s ended with exit code %s, restart in %.1f s", child.name, code, pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause_s)

    async def _run_once(self, child: WorkerProcess) -> int:
        """Start the process and return its exit code once it has ended."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        child.status, child.error = None, ""
        try:
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                child.module,
                *child.stages,
                pass_fds=(writing,),
                env=self._child_variables(writing),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._output(child),
                stderr=self._output(child),
                # Ctrl-C in the terminal must reach only the supervisor, which stops the workers.
                start_new_session=True,
            )
        finally:
            os.close(writing)
        reports = asyncio.ensure_future(self._read_reports(child, reading))
        stop = asyncio.ensure_future(self.stopping.wait())
        ended = asyncio.ensure_future(child.process.wait())
        await asyncio.wait((stop, ended), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await self._stop(child, ended)
        stop.cancel()
        # The last report may still be in the pipe; it ends with the process.
        await asyncio.wait((reports,), timeout=_LAST_REPORT_S)
        reports.cancel()
        await asyncio.gather(stop, reports, return_exceptions=True)
        return await ended

    async def _stop(self, child: WorkerProcess, ended: asyncio.Future[int]) -> None:
        process = child.process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait((ended,), timeout=STOP_WITHIN_S)
        if not done:
            log.warning("%s did not stop within %.0f s, killing it", child.name, STOP_WITHIN_S)
            process.kill()

    async def _read_reports(self, child: WorkerProcess, pipe: int) -> None:
        reader = asyncio.StreamReader(limit=4 * 1024 * 1024)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
        )
        try:
            while line := await reader.readline():
                with suppress(msgspec.DecodeError):
                    child.status = decode(line)
                    child.reported_at = time.monotonic()
                    child.error = child.status.error
        finally:
            transport.close()

    def _child_variables(self, pipe: int) -> dict[str, str]:
        inherited = {
            name: text
            for name, text in os.environ.items()
            # Each process has its own instance name, and only the supervisor listens.
            if name not in ("FEEDMILL_INSTANCE", "FEEDMILL_PORT")
        }
        return {
            **inherited,
            **environment_variables(self.environment),
            STATUS_FD: str(pipe),
            # Batches are small and the workers share the processors: one thread each is faster.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def _output(self, child: WorkerProcess) -> IO[bytes] | None:
        if self._logs is None:
            return None
        if child.log_file is None:
            self._logs.mkdir(parents=True, exist_ok=True)
            child.log_file = (self._logs / f"{child.name}.log").open("ab")
        return child.log_file

    def _metrics_text(self) -> str:
        # As above: a child may end meanwhile.
        statuses = [child.status for child in self.children]
        texts: Iterable[str] = [status.metrics for status in statuses if status is not None]
        return merge([self.metrics.text(), *texts])


def stop_on_signals(stopping: asyncio.Event) -> None:
    """Set the event at SIGTERM and SIGINT, from now on."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
