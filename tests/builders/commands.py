"""The command line and what it talks to, as tests run them."""

import threading
from collections.abc import Callable
from typing import Any, Protocol

from click.testing import Result
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from builders.events import heartbeat
from builders.waiting import now_ms, until
from feedmill.events.decode import encode
from feedmill.events.instance import RefusedSetting
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicRecord, read_all

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
        said = {"config_offset": offset, "refused": refused, "at_ms": now_ms()}
        beat = encode(heartbeat(stage, instance, **said))
        topic, key = f"{self._prefix}instances", self.instance_name.encode()
        producer.send(topic, key=key, value=beat, partition=0)
        producer.flush()


class CommandTopics:
    """The topics of one installation, as a test makes, writes and reads them."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._environment = Environment(kafka=kafka, topic_prefix=prefix)
        self._producer = KafkaProducer(bootstrap_servers=kafka)

    def make(self, *names: str, **partitions: int) -> None:
        """Make topics with the broker's timestamps; all of feedmill's would take longer."""
        sizes = {**dict.fromkeys(names, 1), **partitions}
        stamped = {"message.timestamp.type": "LogAppendTime"}
        made = {self._environment.topic(name): size for name, size in sizes.items()}
        admin = KafkaAdminClient(bootstrap_servers=self._environment.kafka)
        admin.create_topics(
            [NewTopic(name, n, 1, topic_configs=stamped) for name, n in made.items()]
        )
        # The broker hears of them a moment after the controller has made them.
        until(lambda: made.keys() <= set(admin.list_topics()))
        admin.close()

    def send(self, topic: str, key: str, value: Any, partition: int | None = None) -> int:
        """Write a record, None for an empty value, and return its offset."""
        content = None if value is None else encode(value)
        name = self._environment.topic(topic)
        sent = self._producer.send(name, content, key.encode(), partition=partition)
        return int(sent.get(20).offset)

    def read(self, topic: str) -> list[TopicRecord]:
        return list(read_all(self._environment, topic))

    def close(self) -> None:
        self._producer.close()


class StartStage(Protocol):
    """Starts a fake stage: `stage("spam/1")`, or one that refuses what it reads."""

    def __call__(self, name: str, refuses: str | None = None) -> FakeStage: ...
