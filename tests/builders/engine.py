"""A real engine under a prefix of its own, and plain Kafka and Redis clients around it.

Nothing here goes through feedmill's own code but the start of its processes, the creation
of topics, and the console tools' command lines: what is checked is checked from outside.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaTimeoutError

from builders.contract_score import check_ranking, truth_of
from builders.engine_topics import PARTITIONS, EngineTopics
from builders.waiting import until
from feedmill.deploy.local.process import HOST, free_port
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

# A segment this short is closed by the next record, and compacted a moment later.
_COMPACTED_AT_ONCE = {
    "segment.ms": "1000",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1000",
    "min.cleanable.dirty.ratio": "0.001",
}


# Under which role a command runs; those without one connect to no server.
_ROLES = {
    **{"config": "operator", "override": "moderator", "health": "viewer", "replay": "producer"},
}

# A reader on a free port.
READER = "reader"


def _command(stages: str) -> list[str]:
    if stages == READER:
        return ["feedmill.readers.reader_process"]
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
    # Those that it has beside its engine's.
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, within_s: float = 60.0) -> float:
        """SIGTERM; how long it took to end by itself, with exit code 0."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(within_s)
        assert code == 0, f"{self.name} ended with {code}:\n{self.log.read_text()[-3000:]}"
        return time.monotonic() - start


@dataclass
class Engine(EngineTopics):
    """One installation: topics and keys under `prefix`, the processes that were started.

    `variables` go to all workers that are started from then on.
    """

    kafka: str
    redis_url: str
    prefix: str
    folder: Path
    signals: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    partitions: int = PARTITIONS
    # Returns how workers of some stages, or a role, sign in, where the servers ask.
    sign_in: Callable[["Engine", str], dict[str, str]] | None = None
    _ports: dict[str, int] = field(default_factory=dict)
    _watching: dict[str, Consumer] = field(default_factory=dict)

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

    def as_role(self, role: str) -> dict[str, str]:
        """Return how a process signs in that has the rights of a role alone, where servers ask."""
        return self.sign_in(self, role) if self.sign_in and role else {}

    def feedmill(self, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `feedmill …` in a process of its own, about this installation, under its role."""
        role = _ROLES.get(line.partition(" ")[0], "")
        return subprocess.run(
            [sys.executable, "-m", "feedmill.cli.main", *shlex.split(line)],
            env={**self.environment(), **self.as_role(role), **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *workers: str, tag: str = "") -> None:
        """Start workers: `WORKER`, or stages with a plus between; `tag` tells equal ones apart."""
        for stages in workers:
            self._launch(stages, f"{stages}{tag}", {})

    def start_worker(
        self, name: str = "", *, stages: str = WORKER, variables: Mapping[str, str] = {}
    ) -> Worker:
        """Start a worker, a static member of its group if it has a name; it may not be ready."""
        static = {"FEEDMILL_INSTANCE": name} if name else {}
        return self._launch(stages, f"{stages}{name}", {**static, **variables})

    def ready_worker(self, name: str = "", **more: Any) -> Worker:
        """Start a worker and wait until it is ready."""
        worker = self.start_worker(name, **more)
        self.wait_ready(worker.name)
        return worker

    def _launch(self, stages: str, name: str, variables: Mapping[str, str]) -> Worker:
        port = self._ports[name] = free_port(set(self._ports.values()))
        path = self.folder / f"{name}.log"
        ports = {"FEEDMILL_PORT": str(port), "FEEDMILL_READER_PORT": str(port)}
        signs_in = self.sign_in(self, stages) if self.sign_in else {}
        with path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *_command(stages)],
                env={**self.environment(), **ports, **signs_in, **variables},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        worker = self.workers[name] = Worker(stages, name, process, path, variables)
        return worker

    def port_of(self, worker: Worker) -> int:
        """Where a worker serves its health and its metrics, and a reader its pages."""
        return self._ports[worker.name]

    def wait_ready(self, *names: str, seconds: float = 120.0) -> None:
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
        """Start a worker that ended again, under the same name and with its variables."""
        worker = self.workers[name]
        assert worker.process.poll() is not None, f"{name} runs, and nobody would end it"
        self._launch(worker.stages, name, worker.variables)

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
        for watching in self._watching.values():
            watching.close()
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

    # --- what is broken or asked ------------------------------------------------------------

    def producer_of(self, **settings: object) -> Producer:
        """A plain producer on librdkafka, by whose settings records are compressed or grouped."""
        return Producer(
            {
                "bootstrap.servers": self.kafka,
                "partitioner": "murmur2_random",
                "message.max.bytes": 16_000_000,
                **settings,
            }
        )

    def compact_at_once(self, *names: str) -> None:
        """Have the broker compact these topics within moments."""
        admin = AdminClient({"bootstrap.servers": self.kafka})
        changed = [
            ConfigResource(
                ConfigResource.Type.TOPIC,
                self.topic(name),
                incremental_configs=[_setting(*one) for one in _COMPACTED_AT_ONCE.items()],
            )
            for name in names
        ]
        often = _setting("log.cleaner.backoff.ms", "200")
        broker = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[often])
        for future in admin.incremental_alter_configs([*changed, broker]).values():
            future.result(30)

    def open_transactions(self, topic: str) -> bool:
        """Whether a topic has records that are neither committed nor aborted."""
        return self._ends(topic, "read_committed") != self._ends(topic, "read_uncommitted")

    def _ends(self, topic: str, isolation: str) -> list[int]:
        if isolation not in self._watching:
            settings = {"bootstrap.servers": self.kafka, "group.id": "outside"}
            self._watching[isolation] = Consumer({**settings, "isolation.level": isolation})
        watching, name = self._watching[isolation], self.topic(topic)
        return [
            int(watching.get_watermark_offsets(TopicPartition(name, p), timeout=10)[1])
            for p in range(self.partitions)
        ]

    def says_ready(self, worker: Worker) -> bool:
        """Whether its `/readyz` answers that it is."""
        return not self.not_ready_since(worker)

    def not_ready_since(self, worker: Worker) -> str:
        """Why it is not ready, as its `/readyz` answers; "" where it is."""
        try:
            self.page(worker, "readyz")
        except urllib.error.HTTPError as error:
            return error.read().decode()
        return ""

    def page(self, worker: Worker, path: str) -> str:
        """What a worker serves there."""
        url = f"http://{HOST}:{self._ports[worker.name]}/{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    def metric(self, worker: Worker, name: str) -> float:
        """The sum of a metric of a worker over its labels."""
        lines = self.page(worker, "metrics").splitlines()
        pattern = re.compile(rf"{name}(\{{.*\}})? ")
        return sum(float(line.rpartition(" ")[2]) for line in lines if pattern.match(line))

    # --- Redis -------------------------------------------------------------------------------

    def feed(self, name: str = "global") -> tuple[list[tuple[str, float]], dict[str, str]]:
        """A feed, best first, and its info, both of one moment."""
        key = f"{self.prefix}feed:{{{name}}}"
        with self.redis.pipeline(transaction=True) as both:
            both.zrange(key, 0, -1, desc=True, withscores=True)
            both.hgetall(key + ":info")
            entries, info = both.execute()
        return [(post_id, float(score)) for post_id, score in entries], info

    def order(self, name: str = "global") -> list[str]:
        return [post_id for post_id, _ in self.feed(name)[0]]

    def truth(self, post_id: str) -> Json:
        """`signals:<post_id>`, its JSON fields decoded; empty where there is none."""
        fields: Any = self.redis.hgetall(f"{self.prefix}signals:{post_id}")
        return truth_of(fields)

    def truths(self, post_ids: Sequence[str] | None = None) -> dict[str, Json]:
        """`signals:` of these posts, of all without an argument."""
        start = f"{self.prefix}signals:"
        if post_ids is None:
            keys = list(self.redis.scan_iter(start + "*", count=2000))
        else:
            keys = [start + post_id for post_id in post_ids]
        found: dict[str, Json] = {}
        for i in range(0, len(keys), 500):
            with self.redis.pipeline(transaction=False) as pipe:
                for key in keys[i : i + 500]:
                    pipe.hgetall(key)
                for key, fields in zip(keys[i : i + 500], pipe.execute(), strict=True):
                    if fields:
                        found[key.removeprefix(start)] = truth_of(fields)
        return found

    def wait_decided(self, post_ids: Iterable[str], seconds: float = 120.0) -> dict[str, Json]:
        """Wait until none of these posts is held or missing; what is true of them."""
        wanted = list(post_ids)

        def decided() -> dict[str, Json] | None:
            found = self.truths(wanted)
            done = len(found) == len(wanted) and all(
                truth["decision"] != "hold" for truth in found.values()
            )
            return found if done else None

        found: dict[str, Json] = until(decided, seconds)
        return found

    def wait_shown(self, post_id: str, feed: str = "global", seconds: float = 30.0) -> None:
        """Wait until a feed has this post."""
        until(lambda: post_id in self.order(feed), seconds)

    def wait_gone(self, post_id: str, feed: str = "global", seconds: float = 30.0) -> None:
        """Wait until a feed does not have this post."""
        until(lambda: post_id not in self.order(feed), seconds)

    def wait_decision(self, post_id: str, decision: str, seconds: float = 30.0) -> None:
        """Wait until this is what is decided about a post."""
        until(lambda: self.truth(post_id).get("decision") == decision, seconds)

    def check_feed(self, name: str = "global", truths: dict[str, Json] | None = None) -> int:
        """Recompute a quiet feed from `:info` and `signals:` and compare; its size."""
        entries, info = self.feed(name)
        check_ranking(entries, info, truths if truths is not None else self.truths())
        return len(entries)

    def is_right(self, name: str = "global") -> bool:
        """Whether `check_feed` finds nothing wrong by now."""
        try:
            return self.check_feed(name) > 0
        except AssertionError:
            return False

    def forget_redis(self) -> int:
        """Delete all keys of the prefix, as a flush does."""
        keys = list(self.redis.scan_iter(f"{self.prefix}*", count=2000))
        for i in range(0, len(keys), 1000):
            self.redis.delete(*keys[i : i + 1000])
        return len(keys)


@contextlib.contextmanager
def made_engines(kafka: str, redis: str, folder: Path) -> Iterator[Callable[..., Engine]]:
    """Give what makes engines on fresh prefixes, of which no worker runs yet; stop all at the end.

    They are on these servers, unless they are told otherwise.
    """
    made: list[Engine] = []

    def make(*, kafka: str = kafka, redis: str = redis, **more: Any) -> Engine:
        prefix = f"e{uuid.uuid4().hex[:6]}."
        own = folder / prefix.rstrip(".")
        own.mkdir(parents=True)
        made.append(Engine(kafka, redis, prefix, own, **more))
        return made[-1]

    try:
        yield make
    finally:
        for engine in made:
            engine.stop()


def pause(worker: Worker) -> None:
    """Stop a process where it is, and wait until it stands."""
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: _state(worker.pid) == "T")


def go_on(worker: Worker) -> None:
    """Have a paused process go on."""
    os.kill(worker.pid, signal.SIGCONT)


def _setting(name: str, value: str) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
