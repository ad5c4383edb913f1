"""A real engine under a prefix of its own, and plain Kafka and Redis clients around it.

Nothing here goes through feedmill's own code but the start of its processes, the creation
of topics, and the console tools' command lines: what is checked is checked from outside.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaTimeoutError

from builders.engine_feeds import EngineFeeds
from builders.engine_topics import PARTITIONS, EngineTopics
from builders.waiting import until
from feedmill.events.built_in import BUILT_IN_OBJECTIVES
from feedmill.streams.environment import read_environment
from feedmill.streams.kafka import topics
from feedmill.streams.redis.pipelines import open_client

STAGES = ("spam", "nsfw", "misinformation", "quality", "engagement", "combiner")
GATES = ("spam", "nsfw", "misinformation")
KINDS = ("impression", "click", "like", "reply", "share", "dwell", "hide", "report")

_COMPLAINTS = (" ERROR ", " CRITICAL ", "Traceback", "never retrieved", "was destroyed")

# A worker that runs every stage; one that runs some is called by their names: `spam+combiner`.
WORKER = "worker"

Json = dict[str, Any]


def _command(stages: str) -> list[str]:
    named = [] if stages == WORKER else stages.split("+")
    return ["feedmill.streams.worker_process", *named]


def changed(folder: Path, *lines: str) -> dict[str, str]:
    """Variables by which a process runs these lines of Python before anything else."""
    own = folder / "changed"
    own.mkdir(exist_ok=True)
    (own / "sitecustomize.py").write_text("\n".join(lines), "utf-8")
    return {"PYTHONPATH": str(own)}


@dataclass
class Worker:
    """A worker's process."""

    stages: str
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, within_s: float = 10.0) -> float:
        """SIGTERM; how long it took to end by itself, with exit code 0."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(within_s)
        assert code == 0, f"{self.name} ended with {code}:\n{self.log.read_text()[-3000:]}"
        return time.monotonic() - start


@dataclass
class Engine(EngineTopics, EngineFeeds):
    """One installation: topics and keys under `prefix`, the processes that were started."""

    kafka: str
    redis_url: str
    prefix: str
    folder: Path
    signals: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    partitions: int = PARTITIONS
    # Returns how workers of some stages sign in, where the servers ask.
    sign_in: Callable[["Engine", str], dict[str, str]] | None = None

    def __post_init__(self) -> None:
        names = read_environment({"FEEDMILL_SIGNALS": self.signals}).signals
        topics.create(self.kafka, self.prefix, self.partitions, names.all)
        self.gates = names.gates
        # Those that every post has: by default no feed weighs the other objectives.
        self.written = tuple(n for n in names.all if n not in BUILT_IN_OBJECTIVES[2:])
        self.redis = open_client(self.redis_url, decode_responses=True)
        self.producer = self._new_producer()
        self._heartbeats = self.consumer("instances", beginning=True)
        self._latest = {}
        self._seen: dict[str, Json] = {}
        self._is_stopped = False

    def _new_producer(self) -> KafkaProducer:
        return KafkaProducer(
            bootstrap_servers=self.kafka,
            linger_ms=0,
            acks="all",
            enable_idempotence=True,
            max_request_size=4 * 1024 * 1024,
            max_block_ms=60_000,
            # Back at once after an outage: what is measured is the engine.
            reconnect_backoff_max_ms=500,
        )

    def renew_producer(self) -> None:
        """Have another client: one that gave records up in an outage may send no more."""
        old, self.producer = self.producer, self._new_producer()
        with contextlib.suppress(KafkaTimeoutError):
            old.close(timeout=1)

    def environment(self) -> dict[str, str]:
        own = {
            "FEEDMILL_KAFKA": self.kafka,
            "FEEDMILL_REDIS": self.redis_url,
            "FEEDMILL_TOPIC_PREFIX": self.prefix,
            "FEEDMILL_REDIS_PREFIX": self.prefix,
            "FEEDMILL_SIGNALS": self.signals,
            "FEEDMILL_SESSION_TIMEOUT_MS": "6000",
            "FEEDMILL_PORT": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FEEDMILL_")}
        return {**inherited, **own, **self.variables}

    def use_environment(self, patch: pytest.MonkeyPatch, **variables: str) -> None:
        """Have commands that run in this process be about this installation."""
        for name, value in {**self.environment(), **variables}.items():
            if name.startswith("FEEDMILL_") and name != "FEEDMILL_PORT":
                patch.setenv(name, value)

    def feedmill(self, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `feedmill …` in a process of its own, about this installation."""
        return subprocess.run(
            [sys.executable, "-m", "feedmill.cli.main", *shlex.split(line)],
            env={**self.environment(), **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *workers: str, tag: str = "") -> None:
        """Start workers: `WORKER`, or stages with a plus between; `tag` tells equal ones apart."""
        for stages in workers:
            name = f"{stages}{tag}"
            path = self.folder / f"{name}.log"
            signs_in = self.sign_in(self, stages) if self.sign_in else {}
            with path.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", *_command(stages)],
                    env={**self.environment(), **signs_in},
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.workers[name] = Worker(stages, name, process, path)

    def wait_ready(self, *names: str, seconds: float = 60.0) -> None:
        """Wait until these workers, or all of them, publish that they are ready."""
        wanted = names or tuple(self.workers)

        def waiting() -> list[str]:
            by_pid = {beat["pid"]: beat for beat in self.instances().values()}
            late = []
            for name in wanted:
                worker = self.workers[name]
                code = worker.process.poll()
                assert code is None, f"{name} ended with {code}:\n{worker.log.read_text()[-3000:]}"
                beat = by_pid.get(worker.pid)
                if beat is None or not beat["ready"]:
                    late.append(name)
            return late

        until(lambda: not waiting(), seconds)

    def restart(self, name: str) -> None:
        """Start a worker that ended again, under the same name."""
        worker = self.workers[name]
        assert worker.process.poll() is not None, f"{name} runs, and nobody would end it"
        self.start(worker.stages, tag=name.removeprefix(worker.stages))

    def stop(self) -> None:
        """Kill everything, whatever state it is in; once, however often it is called."""
        if self._is_stopped:
            return
        self._is_stopped = True
        for worker in self.workers.values():
            worker.kill()
        with contextlib.suppress(Exception):
            self.producer.close(timeout=5)
        self._heartbeats.close()
        self.forget_latest()
        self.forget_redis()
        self.redis.close()
        admin = KafkaAdminClient(bootstrap_servers=self.kafka)
        try:
            admin.delete_topics([t for t in admin.list_topics() if t.startswith(self.prefix)])
        finally:
            admin.close()

    def instances(self) -> dict[str, Json]:
        """The last heartbeat of every instance that has not left."""
        while batches := self._heartbeats.poll(timeout_ms=20):
            for record in (r for records in batches.values() for r in records):
                if record.value:
                    self._seen[record.key.decode()] = json.loads(record.value)
                else:
                    self._seen.pop(record.key.decode(), None)
        return dict(self._seen)

    def metrics_url(self, name: str) -> str:
        """Where a worker that is ready serves its metrics: as its log says."""
        words = self.workers[name].log.read_text().split()
        return [word for word in words if word.endswith("/metrics")][-1]

    def wait_applied(self, offset: int, seconds: float = 30.0) -> None:
        """Wait until every living worker has dealt with a record of `config`."""
        pids = {w.pid for w in self.workers.values() if w.process.poll() is None}

        def behind() -> list[int]:
            beats = {b["pid"]: b for b in self.instances().values()}
            return [p for p in pids if beats.get(p, {}).get("config_offset", -1) < offset]

        until(lambda: not behind(), seconds)

    def complaints(self) -> list[str]:
        """Lines of the logs about errors that no test expects."""
        return [
            f"{worker.name}: {line}"
            for worker in self.workers.values()
            for line in worker.log.read_text(errors="replace").splitlines()
            if any(sign in line for sign in _COMPLAINTS)
        ]
