"""What the benchmarks time: a worker, or the bare loop beside it, each a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from bare_loop import READY
from kafka.admin import KafkaAdminClient
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from feedmill.deploy.local import default_folder, up
from feedmill.deploy.local.process import HOST, Server, free_port
from feedmill.deploy.local.stack import redis_serves, start_redis
from feedmill.streams.environment import (
    Environment,
    environment_variables,
    read_environment,
)

# A broker in production compiles its code with both compilers; the local stack's has the first
# alone, which starts faster and takes half as much again of the processor once it is warm.  Without
# a size of its own the part of the heap for new objects is so large that each collection of it
# stops the broker for 30 ms, every 3 s at 1,000 posts a second; with this it is 6 ms.
_BROKER = "-XX:+UseSerialGC -Xmn24m"

SubjectName = Literal["bare", "worker", "before", "reader"]
SUBJECTS: tuple[SubjectName, ...] = ("bare", "worker")
PARTITIONS = 4
LOOP_HISTOGRAM = "feedmill_loop_seconds"
LOOP_CPU_HISTOGRAM = "feedmill_loop_cpu_seconds"
_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_WITHIN_S = 20.0


def command_of(
    name: SubjectName,
    arguments: Sequence[str] = (),
    python: str = sys.executable,
) -> list[str]:
    """Return the command line of a subject.

    `python` is what runs a worker: of another checkout, whose worker is the subject `before`.
    """
    if name == "bare":
        return [sys.executable, str(Path(__file__).parent / "bare_loop.py"), *arguments]
    return [*_feedmill(python), "reader" if name == "reader" else "worker", *arguments]


def _feedmill(python: str) -> list[str]:
    return [python, "-m", "feedmill.cli.main"]


def own_environment() -> Environment:
    """The given Kafka and Redis, else the local stack, under a fresh prefix.

    A stack that runs already is taken as it is: `feedmill local down` before a benchmark.
    """
    env = dict(os.environ)
    os.environ.setdefault("KAFKA_JVM_PERFORMANCE_OPTS", _BROKER)
    if "FEEDMILL_KAFKA" not in env:
        address = up(default_folder())
        env |= {"FEEDMILL_KAFKA": address.kafka, "FEEDMILL_REDIS": address.redis}
    tag = f"bench{uuid.uuid4().hex[:6]}."
    return read_environment({**env, "FEEDMILL_TOPIC_PREFIX": tag, "FEEDMILL_REDIS_PREFIX": tag})


@contextlib.contextmanager
def own_redis() -> Iterator[str]:
    """Yield the address of a server that ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        server, port = Server("redis", Path(folder)), free_port(set())
        start_redis(server, port)
        try:
            while not redis_serves(port):
                time.sleep(0.01)
            yield f"redis://{HOST}:{port}/0"
        finally:
            server.stop(10)


@contextlib.contextmanager
def own_servers(python: str = sys.executable) -> Iterator[Environment]:
    """Create topics of a fresh prefix on Kafka and start a Redis; both go with the block.

    The topics are those of the checkout of `python`.
    """
    with own_redis() as address:
        environment = replace(own_environment(), redis=address)
        subprocess.run(
            [*_feedmill(python), "topics", "create", "--partitions", str(PARTITIONS)],
            env={**os.environ, **environment_variables(environment)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        try:
            yield environment
        finally:
            _delete_topics(environment)


def _delete_topics(environment: Environment) -> None:
    admin = KafkaAdminClient(bootstrap_servers=environment.kafka)
    try:
        prefix = environment.topic_prefix
        admin.delete_topics([name for name in admin.list_topics() if name.startswith(prefix)])
    finally:
        admin.close()


@dataclass
class Subject:
    """A running process, and what /proc and its metrics say about it."""

    name: SubjectName
    process: subprocess.Popen[bytes]
    port: int
    log: IO[bytes]

    def cpu_seconds(self) -> float:
        """Return the processor time of the process and of all below it so far."""
        return sum(cpu_seconds_of(pid) for pid in self._pids())

    def resident_bytes(self) -> int:
        """Return the resident memory of the process and of all below it."""
        return sum(resident_bytes_of(pid) for pid in self._pids())

    def samples(self) -> Samples:
        """Return what `/metrics` shows; nothing for the bare loop."""
        if self.name == "bare":
            return NO_SAMPLES
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        families = text_string_to_metric_families(text)
        return Samples([sample for family in families for sample in family.samples])

    def is_ready(self) -> bool:
        """Return whether the process says that it serves.

        Raises `SystemExit`: the process has ended; the text has the end of its log.
        """
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended while it started:\n{self.log_text()[-2000:]}")
        if self.name == "bare":
            return READY in self.log_text()
        with contextlib.suppress(OSError, urllib.error.URLError):
            url = f"http://{HOST}:{self.port}/readyz"
            return bool(urllib.request.urlopen(url, timeout=1).status == 200)
        return False

    def wait_ready(self, timeout_s: float = 120) -> None:
        """Wait until the process serves; ends the run if it never does."""
        until = time.monotonic() + timeout_s
        while not self.is_ready():
            if time.monotonic() > until:
                raise SystemExit(f"{self.name} is not ready:\n{self.log_text()[-2000:]}")
            time.sleep(0.05)

    def log_text(self) -> str:
        """Return all that the process has printed."""
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the process by a signal and wait for it."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(_STOP_WITHIN_S)
        self.log.close()

    def _pids(self) -> list[int]:
        """Return the process and all below it."""
        children: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(path.parent.name))
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += children.get(pid, [])
        return found


@dataclass(frozen=True)
class Samples:
    """The samples of a process's metrics at one moment."""

    all: Sequence[Sample]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over all samples with these labels; 0 without any."""
        return sum(
            sample.value
            for sample in self.all
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def longest_loop_ms(self, since: Samples, histogram: str = LOOP_HISTOGRAM) -> float:
        """Return the upper edge of the highest bucket that grew: no cycle took longer."""
        bucket = f"{histogram}_bucket"
        edges = {sample.labels["le"] for sample in self.all if sample.name == bucket}
        grown = {
            float(edge): self.value(bucket, le=edge) - since.value(bucket, le=edge)
            for edge in edges
        }
        most = max(grown.values(), default=0.0)
        return min((edge for edge, count in grown.items() if count >= most > 0), default=0.0) * 1000


NO_SAMPLES = Samples(())


def start(
    name: SubjectName,
    environment: Environment,
    *,
    arguments: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Subject:
    """Start a subject without waiting for it, in a session of its own, as the supervisor does.

    Linux shares processors among sessions first: in that of load and watcher it would have a part.
    """
    port = free_port(set())
    env = {
        **os.environ,
        **environment_variables(environment),
        "FEEDMILL_READER_PORT" if name == "reader" else "FEEDMILL_PORT": str(port),
        **(variables or {}),
    }
    log = tempfile.TemporaryFile()  # noqa: SIM115 - `Subject.stop` closes it
    process = subprocess.Popen(
        command_of(name, arguments, python),
        env=env,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Subject(name, process, port, log)


@contextlib.contextmanager
def running(
    name: SubjectName,
    environment: Environment,
    python: str = sys.executable,
) -> Iterator[Subject]:
    """Start a subject, wait until it is ready, and stop it after the block."""
    subject = start(name, environment, python=python)
    try:
        subject.wait_ready()
        yield subject
    finally:
        subject.stop()


def cpu_seconds_of(pid: int) -> float:
    """Return user and system time of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS


def resident_bytes_of(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
