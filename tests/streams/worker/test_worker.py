"""A worker as a process on a real Kafka, judged by what others read."""

import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from builders.kafka_log import KafkaLog, until
from feedmill.deploy.local import StackAddress
from feedmill.streams.environment import environment_variables


class WorkerProcess:
    """`python -m feedmill.streams.worker_process <stage>…`."""

    def __init__(self, kafka: KafkaLog, folder: Path, *stages: str) -> None:
        instance = "one"
        self.log = folder / f"{instance}-{random.randrange(10**9)}.log"
        env = {**os.environ, **environment_variables(kafka.environment)}
        env |= {"FEEDMILL_INSTANCE": instance, "FEEDMILL_PORT": "0"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "feedmill.streams.worker_process", *stages],
                env=env,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(10) == 0, self.log.read_text()[-3000:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        found = [word for word in self.log.read_text().split() if word.endswith("/metrics")]
        if not found:
            return False
        try:
            url = found[0].replace("/metrics", "/readyz")
            with urllib.request.urlopen(url, timeout=5) as page:  # noqa: S310 - loopback
                return bool(page.status == 200)
        except urllib.error.HTTPError:
            return False


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix, ranks=True, session_timeout_ms=6000)


@contextmanager
def running(kafka: KafkaLog, folder: Path, *more: str) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(kafka, folder, "quality", *more)
    try:
        yield worker
        worker.stop()
    finally:
        worker.kill()


def posts(count: int, name: str = "p") -> list[tuple[bytes, bytes]]:
    text = "A text of some length about what happened, with the number"
    return [
        (
            f"{name}{i}".encode(),
            json.dumps(
                {
                    "post_id": f"{name}{i}",
                    "author_id": f"a{i % 97}",
                    "created_at_ms": 1_700_000_000_000,
                    "text": f"{text} {i}",
                }
            ).encode(),
        )
        for i in range(count)
    ]


def judged(kafka: KafkaLog) -> Counter[bytes]:
    return Counter(message.key() for message in kafka.read("signals.quality"))


def written(kafka: KafkaLog) -> int:
    return len(kafka.read("signals.quality", committed=False))


def ends(kafka: KafkaLog) -> list[str]:
    """By partition how many workers in a row ended uncleanly, as the group's offsets say."""
    environment = kafka.environment
    consumer = Consumer(
        {"bootstrap.servers": environment.kafka, "group.id": environment.group("worker-quality")}
    )
    try:
        places = [TopicPartition(environment.topic("posts"), p) for p in range(kafka.partitions)]
        found = consumer.committed(places, 30)
        return [json.loads(at.metadata)["notes"].get("ends", "") for at in found]
    finally:
        consumer.close()


def has_more(kafka: KafkaLog, before: int) -> bool:
    return written(kafka) > before


def nap() -> None:
    # Waits for another process; nothing is measured.
    time.sleep(0.05)


def test_each_post_is_judged_once_however_often_the_worker_is_killed(
    kafka: KafkaLog, tmp_path: Path
) -> None:
    expected = posts(6000)
    kafka.produce("posts", expected)
    for kill in range(2):
        worker = WorkerProcess(kafka, tmp_path, "quality")
        before = written(kafka)
        # In the midst of its work: some are written, not all.
        until(partial(has_more, kafka, before), nap)
        worker.kill()
        # Whoever comes next sees that it did not give its partitions back.
        assert set(ends(kafka)) == {f"{kill} open"}
        kafka.produce("posts", more := posts(500, f"k{kill}-"))
        expected += more
    with running(kafka, tmp_path) as worker:
        until(lambda: worker.is_ready and len(judged(kafka)) == len(expected), nap)
    assert judged(kafka) == Counter(key for key, _ in expected)
    assert set(ends(kafka)) == {"2"}
    # After each kill posts were tried in another process, which none of them ended.
    assert kafka.read("poison") == kafka.read("dead-letters") == []
    signal = json.loads(kafka.read("signals.quality")[0].value())
    assert 0.0 <= signal["value"] <= 1.0


def test_a_worker_says_on_instances_what_it_is_and_when_it_ends(
    kafka: KafkaLog, tmp_path: Path
) -> None:
    def beats() -> list[dict[str, object]]:
        found = kafka.read("instances")
        return [json.loads(m.value()) if m.value() else {} for m in found]

    with running(kafka, tmp_path):
        ready = until(lambda: [b for b in beats() if b["ready"]], nap)[-1]
        assert ready["stage"] == "quality"
        assert set(ready["models"]) == {"quality"}
        kafka.produce("config", [(b"weights", b"{}"), (b"nonsense", b'{"value": 1}')])
        told = until(lambda: [b for b in beats() if b["config_offset"] == 1], nap)[-1]
        assert {refused["key"] for refused in told["refused"]} >= {"nonsense"}
    assert beats()[-1] == {}
