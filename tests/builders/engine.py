"""A real engine under a prefix of its own, and plain Kafka and Redis clients around it.

Nothing here goes through feedmill's own code but the start of its processes, the creation
of topics, and the console tools' command lines: what is checked is checked from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from builders.contract_score import check_ranking, truth_of
from feedmill.streams.kafka import topics
from feedmill.streams.settings.environment import read_environment

STAGES = ("spam", "nsfw", "misinformation", "quality", "engagement", "combiner")
GATES = ("spam", "nsfw", "misinformation")
PARTITIONS = 4
KINDS = ("impression", "click", "like", "reply", "share", "dwell", "hide", "report")

_COMPLAINTS = (" ERROR ", " CRITICAL ", "Traceback", "never retrieved", "was destroyed")

Json = dict[str, Any]


def now_ms() -> int:
    return int(time.time() * 1000)


def until(condition: Callable[[], Any], seconds: float = 30.0, every: float = 0.05) -> Any:
    """Wait until a condition holds and return what it returned; say what it was if it never did."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {condition}, last {found!r}")
        time.sleep(every)


@dataclass
class Worker:
    """One stage's process."""

    stage: str
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
class Engine:
    """One installation: topics and keys under `prefix`, the processes that were started."""

    kafka: str
    redis_url: str
    prefix: str
    folder: Path
    signals: str = ""
    workers: dict[str, Worker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = read_environment({"FEEDMILL_SIGNALS": self.signals}).signals
        topics.create(self.kafka, self.prefix, PARTITIONS, names.all)
        self.gates, self.objectives = names.gates, names.objectives
        self.redis = redis.Redis.from_url(self.redis_url, decode_responses=True)
        self.producer = KafkaProducer(
            bootstrap_servers=self.kafka,
            linger_ms=0,
            acks="all",
            enable_idempotence=True,
            max_request_size=4 * 1024 * 1024,
            max_block_ms=60_000,
        )
        self._heartbeats = self.consumer("instances", beginning=True)
        self._seen: dict[str, Json] = {}

    # --- processes

    def environment(self) -> dict[str, str]:
        own = {
            "FEEDMILL_KAFKA": self.kafka,
            "FEEDMILL_REDIS": self.redis_url,
            "FEEDMILL_TOPIC_PREFIX": self.prefix,
            "FEEDMILL_REDIS_PREFIX": self.prefix,
            "FEEDMILL_SIGNALS": self.signals,
            "FEEDMILL_SESSION_TIMEOUT_MS": "6000",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FEEDMILL_")}
        return {**inherited, **own}

    def start(self, *stages: str, tag: str = "") -> None:
        """Start stages, one process each; `tag` tells instances of one stage apart."""
        for stage in stages:
            name = f"{stage}{tag}"
            path = self.folder / f"{name}.log"
            with path.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "feedmill.streams.stages.process", stage],
                    env=self.environment(),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.workers[name] = Worker(stage, name, process, path)

    def wait_ready(self, *names: str, seconds: float = 60.0) -> None:
        """Wait until these workers, all without a name, say on `instances` that they are ready."""
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

        until(lambda: not waiting(), seconds, every=0.2)

    def restart(self, name: str) -> None:
        """Start a worker that ended again, under the same name."""
        worker = self.workers[name]
        self.start(worker.stage, tag=name.removeprefix(worker.stage))

    def stop(self) -> None:
        """End everything, whatever state it is in."""
        for worker in self.workers.values():
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.process.terminate()
        for worker in self.workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(12)
            if worker.process.poll() is None:
                worker.kill()
        with contextlib.suppress(Exception):
            self.producer.close(timeout=5)
        self._heartbeats.close()
        self.forget_redis()
        self.redis.close()
        admin = KafkaAdminClient(bootstrap_servers=self.kafka)
        try:
            admin.delete_topics([t for t in admin.list_topics() if t.startswith(self.prefix)])
        finally:
            admin.close()

    def forget_redis(self) -> int:
        """Delete all keys of the prefix, as a flush does."""
        keys = list(self.redis.scan_iter(f"{self.prefix}*", count=2000))
        for i in range(0, len(keys), 1000):
            self.redis.delete(*keys[i : i + 1000])
        return len(keys)

    def complaints(self) -> list[str]:
        """Lines of the logs that tell of something nobody expected."""
        return [
            f"{worker.name}: {line}"
            for worker in self.workers.values()
            for line in worker.log.read_text(errors="replace").splitlines()
            if any(sign in line for sign in _COMPLAINTS)
            # aiokafka calls an error what it then tries again.
            and " ERROR aiokafka" not in line
        ]

    # --- Kafka

    def topic(self, name: str) -> str:
        return self.prefix + name

    def send(self, topic: str, key: str | bytes | None, value: Any, **more: Any) -> Any:
        """Send one record; a future whose `get()` knows its partition and offset."""
        raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        raw_key = key.encode() if isinstance(key, str) else key
        return self.producer.send(self.topic(topic), key=raw_key, value=raw, **more)

    def post(self, post_id: str, text: str = "A walk by the river", **more: Any) -> int:
        """Write a post; its offset."""
        value = {
            "post_id": post_id,
            "author_id": f"author-of-{post_id}",
            "created_at_ms": now_ms(),
            "text": text,
        }
        return int(self.send("posts", post_id, {**value, **more}).get(30).offset)

    def posts(self, values: Iterable[Json]) -> dict[str, int]:
        """Write many posts; their offsets."""
        sent = {v["post_id"]: self.send("posts", v["post_id"], v) for v in values}
        return {post_id: int(future.get(60).offset) for post_id, future in sent.items()}

    def signal(self, name: str, post_id: str, offset: int, value: float | None, **more: Any) -> Any:
        """Write what a stage would say of a version of a post."""
        told: Json = {
            "post_id": post_id,
            "post_offset": offset,
            "value": None if value is None else float(np.float32(value)),
            "model": name,
            "version": "written-by-the-test",
            "at_ms": now_ms(),
        }
        return self.send(f"signals.{name}", post_id, {**told, **more})

    def judge(self, offsets: Mapping[str, int], **values: float) -> None:
        """Write constant signals for posts: gates 0 unless given, objectives as given."""
        futures = [
            self.signal(name, post_id, offset, values.get(name, 0.0))
            for post_id, offset in offsets.items()
            for name in (*self.gates, *self.objectives)
            if name in values or name in self.gates
        ]
        for future in futures:
            future.get(60)

    def set(self, key: str, value: Any, **more: Any) -> int:
        """Write a setting; its offset."""
        told = None if value is None else {"value": value, **more}
        return int(self.send("config", key, told, partition=0).get(30).offset)

    def consumer(self, *names: str, beginning: bool = False) -> KafkaConsumer:
        consumer = KafkaConsumer(
            bootstrap_servers=self.kafka,
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
            check_crcs=False,  # in Python it takes a second a megabyte
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )
        parts = [
            TopicPartition(self.topic(name), p)
            for name in names
            for p in sorted(consumer.partitions_for_topic(self.topic(name)) or ())
        ]
        consumer.assign(parts)
        (consumer.seek_to_beginning if beginning else consumer.seek_to_end)()
        for part in parts:
            consumer.position(part)
        return consumer

    def read_all(self, *names: str) -> list[Any]:
        """Every record of topics up to where they end now, in order within a partition."""
        consumer = self.consumer(*names, beginning=True)
        try:
            ends = consumer.end_offsets(list(consumer.assignment()))
            records: list[Any] = []
            while any(consumer.position(part) < end for part, end in ends.items()):
                for batch in consumer.poll(timeout_ms=500).values():
                    records.extend(batch)
            return records
        finally:
            consumer.close()

    def latest(self, name: str) -> dict[str, Json]:
        """The last value of every key of a topic; tombstones leave nothing."""
        found: dict[str, Json] = {}
        for record in self.read_all(name):
            key = record.key.decode()
            if record.value:
                found[key] = json.loads(record.value)
            else:
                found.pop(key, None)
        return found

    def instances(self) -> dict[str, Json]:
        """The last heartbeat of everyone who has not said goodbye."""
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

        def behind() -> list[str]:
            beats = {b["pid"]: b for b in self.instances().values()}
            return [p for p in pids if beats.get(p, {}).get("config_offset", -1) < offset]

        until(lambda: not behind(), seconds)

    def letters(self) -> dict[tuple[str, int, int], Json]:
        """Dead letters by their position, with their headers and bytes."""
        found = {}
        for record in self.read_all("dead-letters"):
            headers = {name: value.decode() for name, value in record.headers}
            at = (headers["topic"], int(headers["partition"]), int(headers["offset"]))
            found[at] = {**headers, "key": record.key, "value": record.value}
        return found

    # --- Redis

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
        return truth_of(self.redis.hgetall(f"{self.prefix}signals:{post_id}"))

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

    def wait_decided(self, post_ids: Iterable[str], seconds: float = 60.0) -> dict[str, Json]:
        """Wait until none of these posts is held or missing; what is true of them."""
        wanted = list(post_ids)

        def decided() -> dict[str, Json] | None:
            found = self.truths(wanted)
            done = len(found) == len(wanted) and all(
                truth["decision"] != "hold" for truth in found.values()
            )
            return found if done else None

        found: dict[str, Json] = until(decided, seconds, every=0.2)
        return found

    def check_feed(self, name: str = "global", truths: dict[str, Json] | None = None) -> int:
        """Recompute a quiet feed from `:info` and `signals:` and compare; its size."""
        entries, info = self.feed(name)
        check_ranking(entries, info, truths if truths is not None else self.truths())
        return len(entries)


@contextlib.contextmanager
def in_background(work: Callable[[threading.Event], Any]) -> Iterator[Future[Any]]:
    """Run something beside the block until it is told to stop; raises what it raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, stop)
        try:
            yield future
        finally:
            stop.set()
    future.result(60)
