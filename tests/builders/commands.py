"""The command line and what it talks to, as tests run them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from click.testing import Result
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from builders.waiting import now_ms
from feedmill.events.decode import encode
from feedmill.events.instance import Instance, RefusedSetting

Run = Callable[[str], Result]


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
        stage, _, instance = self.instance_name.partition("/")
        refused: tuple[RefusedSetting, ...] = ()
        if self._refuses and offset >= 0:
            refused = (RefusedSetting("weights", offset, self._refuses),)
        heartbeat = Instance(
            stage=stage,
            instance=instance,
            host="here",
            pid=1,
            build="test",
            config_offset=offset,
            refused=refused,
            models={},
            ready=True,
            lag=0,
            at_ms=now_ms(),
        )
        topic, key = f"{self._prefix}instances", self.instance_name.encode()
        producer.send(topic, key=key, value=encode(heartbeat), partition=0)
        producer.flush()


class StartStage(Protocol):
    """Starts a fake stage: `stage("spam/1")`, or one that refuses what it reads."""

    def __call__(self, name: str, refuses: str | None = None) -> FakeStage: ...
