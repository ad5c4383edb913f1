from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import click
import pytest
import redis
from click.testing import CliRunner, Result
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from feedmill.cli.config import config
from feedmill.cli.explain import explain_command
from feedmill.cli.feed import feed_command
from feedmill.cli.override import override
from feedmill.events.gates import GatePolicy
from feedmill.events.signal import SignalNames
from feedmill.events.weights import WeightsDecoder


class Addresses(Protocol):
    kafka: str
    redis: str


Run = Callable[[str], Result]


@pytest.fixture
def run(stack: Addresses, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `feedmill …` against the stack, in this process."""
    monkeypatch.setenv("FEEDMILL_KAFKA", stack.kafka)
    monkeypatch.setenv("FEEDMILL_REDIS", stack.redis)
    monkeypatch.setenv("FEEDMILL_TOPIC_PREFIX", prefix)
    monkeypatch.setenv("FEEDMILL_REDIS_PREFIX", prefix)
    commands = (config, explain_command, feed_command, override)
    main = click.Group(commands={str(command.name): command for command in commands})

    def run_line(line: str) -> Result:
        return CliRunner().invoke(main, shlex.split(line))

    return run_line


@pytest.fixture
def topics_made(stack: Addresses, prefix: str) -> None:
    """The three small topics that these commands use; all of them would take longer."""
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    names = ("config", "overrides", "instances")
    admin.create_topics([NewTopic(f"{prefix}{name}", 1, 1) for name in names])
    # The broker hears of them a moment after the controller has made them.
    until = time.monotonic() + 20
    while not {f"{prefix}{name}" for name in names} <= set(admin.list_topics()):
        assert time.monotonic() < until
        time.sleep(0.02)
    admin.close()


class FakeStage(threading.Thread):
    """Publishes itself on `instances` as a stage does, and answers records of `config`."""

    def __init__(self, kafka: str, prefix: str, name: str, refuses: str | None = None) -> None:
        super().__init__(daemon=True)
        self.instance_name = name
        self.ended = threading.Event()
        self.ready = threading.Event()
        self._kafka, self._prefix, self._refuses = kafka, prefix, refuses

    def run(self) -> None:
        producer = KafkaProducer(bootstrap_servers=self._kafka)
        consumer = KafkaConsumer(bootstrap_servers=self._kafka)
        at = TopicPartition(f"{self._prefix}config", 0)
        consumer.assign([at])
        consumer.seek_to_beginning(at)
        self._publish(producer, -1)
        self.ready.set()
        while not self.ended.is_set():
            for record in consumer.poll(timeout_ms=50).get(at, []):
                self._publish(producer, record.offset)
        consumer.close()
        producer.close()

    def _publish(self, producer: KafkaProducer, offset: int) -> None:
        refusal = {"key": "weights", "offset": offset, "reason": str(self._refuses)}
        heartbeat = {
            "stage": self.instance_name.partition("/")[0],
            "instance": self.instance_name.partition("/")[2],
            "host": "here",
            "pid": 1,
            "build": "test",
            "config_offset": offset,
            "refused": [refusal] if self._refuses and offset >= 0 else [],
            "models": {},
            "ready": True,
            "lag": 0,
            "at_ms": int(time.time() * 1000),
        }
        value = json.dumps(heartbeat).encode()
        topic = f"{self._prefix}instances"
        producer.send(topic, key=self.instance_name.encode(), value=value, partition=0)
        producer.flush()


@pytest.fixture
def stage(stack: Addresses, prefix: str, topics_made: None) -> Iterator[Callable[..., FakeStage]]:
    """Start fake stages: `stage("spam/1")`, or one that refuses what it reads."""
    started: list[FakeStage] = []

    def start(name: str, refuses: str | None = None) -> FakeStage:
        one = FakeStage(stack.kafka, prefix, name, refuses)
        one.start()
        assert one.ready.wait(20)
        started.append(one)
        return one

    yield start
    for one in started:
        one.ended.set()
        one.join(10)


class FakeWriter:
    """Writes feeds and signals in the shape of the contract, as a combiner does."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client, self.prefix, self.version = client, prefix, 0

    def signals(self, post_id: str, **fields: Any) -> None:
        """Write `signals:<post_id>`; a number is a signal of the version `post_offset`."""
        offset = fields.get("post_offset", 7)
        content = {"post_offset": offset, "author_id": "ann", "created_ms": 1_700_000_000_000}
        content |= {"decision": "show", "decided_by": "", **fields}
        shown = {
            name: _signal(name, value, offset) if name in SignalNames().all else value
            for name, value in content.items()
        }
        self.client.hset(f"{self.prefix}signals:{post_id}", mapping=shown)

    def feed(self, feed: str, scores: dict[str, float], **info: Any) -> int:
        """Write a feed and its `:info` in one transaction; returns the version."""
        self.version += 1
        now_ms = int(time.time() * 1000)
        weights = WeightsDecoder(SignalNames()).default.as_dict()
        gates = {name: _gate() for name in SignalNames().gates}
        content = {"version": self.version, "config_offset": 4, "size": len(scores), "owner": 1}
        content |= {"weights": weights, "gates": gates}
        content |= {"written_at_ms": now_ms, "fresh_until_ms": now_ms + 15_000, **info}
        texts = {k: v if isinstance(v, int) else json.dumps(v) for k, v in content.items()}
        key = f"{self.prefix}feed:{{{feed}}}"
        with self.client.pipeline(transaction=True) as pipe:
            pipe.delete(key)
            if scores:
                pipe.zadd(key, scores)
            pipe.hset(f"{key}:info", mapping=texts)
            said = {"feed": feed, "version": self.version, "config_offset": 4, "at_ms": now_ms}
            pipe.publish(f"{self.prefix}feed-changes", json.dumps(said))
            pipe.execute()
        return self.version


def _gate(**changed: Any) -> dict[str, Any]:
    gate = GatePolicy()
    return {**{name: getattr(gate, name) for name in gate.__struct_fields__}, **changed}


def _signal(name: str, said: Any, offset: int) -> str:
    """A signal's JSON from its value, or from the fields in which it differs."""
    fields = said if isinstance(said, dict) else {"value": said}
    usual = {"value": None, "model": name, "version": f"{name}-v1", "post_offset": offset}
    return json.dumps({**usual, "at_ms": 1, **fields})


@pytest.fixture
def writer(stack: Addresses, prefix: str) -> Iterator[FakeWriter]:
    client = redis.Redis.from_url(stack.redis)
    yield FakeWriter(client, prefix)
    for key in client.scan_iter(f"{prefix}*"):
        client.delete(key)
    client.close()
