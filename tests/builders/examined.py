"""An installation that a test misconfigures, has examined, and mends by what findings say."""

import importlib.metadata
import re
import shlex
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import CoordinatorLoadInProgressError
from kafka.structs import OffsetAndMetadata

from builders.events import heartbeat
from builders.own_redis import OwnRedis
from builders.waiting import now_ms, until
from feedmill.cli.main import main
from feedmill.deploy.local import StackAddress
from feedmill.deploy.local.kafka_server import kafka_tool
from feedmill.deploy.local.stack import redis_cli
from feedmill.events.decode import encode
from feedmill.operations.status.finding import Finding
from feedmill.operations.status.installation import Check, Installation, examine
from feedmill.streams.environment import read_environment

PARTITIONS = 4
# Every partition gets more of them than are sampled.
_MANY = 1_200
_TOOLS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
}


class Examined:
    """Topics under a prefix, a Redis of its own, and the variables of a process.

    Attributes
    ----------
    ahead_ms
        So much the clock of this host is ahead.
    """

    def __init__(self, kafka: str, folder: Path, prefix: str | None = None) -> None:
        self.kafka = kafka
        self.prefix = f"t{uuid.uuid4().hex[:6]}." if prefix is None else prefix
        self.folder = folder
        self.redis = OwnRedis(folder / "redis")
        self.redis.start()
        self.client = self.redis.client()
        self.variables = self.own_variables()
        self.ahead_ms = 0
        self.admin = KafkaAdminClient(bootstrap_servers=kafka)
        self.producer = self.new_producer("murmur2_random")
        self._beating: set[bytes] = set()
        self._member: KafkaConsumer | None = None

    def own_variables(self) -> dict[str, str]:
        """Those by which a process of the installation finds it."""
        return {
            "FEEDMILL_KAFKA": self.kafka,
            "FEEDMILL_REDIS": self.redis.url,
            "FEEDMILL_TOPIC_PREFIX": self.prefix,
        }

    def close(self) -> None:
        left = [name for name in self.admin.list_topics() if name.startswith(self.prefix)]
        if left and self.prefix:
            self.admin.delete_topics(left)
        self.admin.close()
        self.redis.close()

    # --- examine and mend ----------------------------------------------------------------

    def found(self, check: Check, says: str) -> list[Finding]:
        """What a check finds that says this; a check that fails is found, too."""
        environment = read_environment(self.variables)
        inst = Installation(environment, self.variables, lambda: now_ms() + self.ahead_ms)
        try:
            findings = examine(inst, [check]).findings
        finally:
            inst.close()
        return [one for one in findings if says in one.what]

    def run(self, line: str) -> Result:
        """Run `feedmill …` in this process, with the variables."""
        return CliRunner().invoke(main, shlex.split(line), env=self.variables)

    def follow(self, command: str) -> None:
        """Do what one command of a way out says, literally."""
        program, *words = shlex.split(command)
        if program == "feedmill":
            result = self.run(shlex.join(words))
            assert result.exit_code == 0, result.output
        elif program == "redis-cli":
            self.check([*redis_cli(), *words])
        elif program in _TOOLS:
            self.check(kafka_tool(_TOOLS[program], *words))
        elif program == "export":
            name, _, value = words[0].partition("=")
            self.variables[name] = value
        elif program == "unset":
            self.variables.pop(words[0])
        else:
            self.check([program, *words])

    def check(self, command: list[str]) -> str:
        """Run a program, which must succeed; what it prints."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "error" not in done.stdout.lower().replace("no error", ""), done.stdout
        return done.stdout

    # --- Kafka ---------------------------------------------------------------------------

    def topic(self, name: str) -> str:
        return self.prefix + name

    def new_producer(self, partitioner: str) -> Producer:
        return Producer(
            {"bootstrap.servers": self.kafka, "partitioner": partitioner, "linger.ms": 5}
        )

    def send(self, topic: str, key: str | None, value: Any, **more: Any) -> None:
        """Write one record: None for an empty value, else JSON."""
        raw = value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)
        name = self.topic(topic)
        self.producer.produce(name, raw, None if key is None else key.encode(), **more)
        assert self.producer.flush(20) == 0

    def state(self) -> dict[str, object]:
        """All that a command could change: topics, their ends, groups, keys."""
        topics = [name for name in self.admin.list_topics() if name.startswith(self.prefix)]
        at = [
            TopicPartition(one["name"], part["partition_index"])
            for one in self.admin.describe_topics(topics)
            for part in one["partitions"]
        ]
        ends = self.admin.list_partition_offsets(dict.fromkeys(at, OffsetSpec.LATEST))
        # A broker that has just started loads its groups first.
        groups: list[str] = []
        until(lambda: self._lists_groups(groups))
        return {
            "ends": {place: end.offset for place, end in ends.items()},
            # Those of other tests have a prefix of their own, and come meanwhile.
            "groups": sorted(g for g in groups if g.startswith(self.prefix) or "." not in g),
            "keys": sorted(self.client.keys()),
        }

    def _lists_groups(self, groups: list[str]) -> bool:
        try:
            groups[:] = [str(one["group_id"]) for one in self.admin.list_groups()]
        except CoordinatorLoadInProgressError:
            return False
        return True

    def send_many(
        self, topic: str, key: str = "post_id", producer: Producer | None = None, **fields: Any
    ) -> None:
        """Write so many records that nothing else is among the newest, the key being a field."""
        producer = producer or self.producer
        for _ in range(_MANY):
            value = record_of(topic) | fields
            producer.produce(self.topic(topic), msgspec.json.encode(value), value.get(key))
            producer.poll(0)
        assert producer.flush(30) == 0

    def set(self, key: str, value: Any) -> None:
        self.send("config", key, None if value is None else {"value": value}, partition=0)

    def beat(self, name: str, **fields: Any) -> None:
        """Write a heartbeat as ``<stage>/<instance>``."""
        stage, _, instance = name.partition("/")
        said = {"build": importlib.metadata.version("feedmill"), "at_ms": now_ms(), **fields}
        self._beating.add(name.encode())
        self.send("instances", name, encode(heartbeat(stage, instance, **said)), partition=0)

    def leave(self, *names: str) -> None:
        """Have instances say that they stopped; all without a name."""
        for key in {name.encode() for name in names} or self._beating:
            self.send("instances", key.decode(), None, partition=0)

    def commit(self, group: str, topic: str, partition: int, offset: int, text: str = "") -> None:
        at = TopicPartition(self.topic(topic), partition)
        committed = {at: OffsetAndMetadata(offset, text, None)}
        self.admin.alter_group_offsets(self.prefix + group, committed)

    def join(self, group: str, topic: str) -> Any:
        """Have a plain consumer join a group and get all partitions of a topic."""
        self._member = KafkaConsumer(
            self.topic(topic), bootstrap_servers=self.kafka, group_id=self.prefix + group
        )
        member = self._member
        until(lambda: member.poll(200) or len(member.assignment()) == PARTITIONS)
        return member

    def part(self) -> None:
        """Have that consumer leave again."""
        if self._member is not None:
            self._member.close(autocommit=False)
            self._member = None

    def forget(self, group: str) -> None:
        self.admin.delete_groups([self.prefix + group])


def record_of(topic: str) -> dict[str, Any]:
    """A valid post or engagement."""
    post_id, at_ms = f"p{uuid.uuid4().hex[:12]}", now_ms()
    if topic == "posts":
        return {"post_id": post_id, "author_id": "ann", "created_at_ms": at_ms, "text": "Hello"}
    return {"post_id": post_id, "user_id": f"u{post_id}", "kind": "like", "at_ms": at_ms}


def commands_of(way_out: str) -> list[str]:
    """The commands that a way out names, as they are typed."""
    return re.findall(r"`([^`]+)`", way_out)


def examined(stack: StackAddress) -> Examined:
    """An installation whose topics are there."""
    found = Examined(stack.kafka, Path(tempfile.mkdtemp(prefix="feedmill-examined-")))
    result = found.run(f"topics create --partitions {PARTITIONS}")
    assert result.exit_code == 0, result.output
    return found
