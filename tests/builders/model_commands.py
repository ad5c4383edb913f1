"""`feedmill models` against an engine of a test."""

import json
import shlex
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from builders.fault_engine import FaultEngine
from feedmill.cli.main import main
from feedmill.models.store_files import Store


class Models:
    """`feedmill models …` against an engine, and what stands beside its offsets."""

    def __init__(
        self,
        engine: FaultEngine,
        store: Store,
        patch: pytest.MonkeyPatch,
        group: str = "worker",
    ) -> None:
        self._engine = engine
        self._group = group
        for name, value in {**engine.environment(), "FEEDMILL_MODELS": str(store)}.items():
            if name.startswith("FEEDMILL_") and name != "FEEDMILL_PORT":
                patch.setenv(name, value)

    def run(self, line: str) -> Result:
        return CliRunner().invoke(main, ["models", *shlex.split(line)])

    def done(self, line: str) -> Any:
        result = self.run(f"{line} --json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def notes(self, name: str) -> dict[int, tuple[str, int]]:
        """By partition the recorded version of a model, and the offset from which it holds."""
        admin = AdminClient({"bootstrap.servers": self._engine.kafka})
        group, topic = self._engine.topic(self._group), self._engine.topic("posts")
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        found = {}
        for at in asked[group].result(30).topic_partitions:
            text = json.loads(at.metadata or "{}").get("notes", {}).get(f"model.{name}", "")
            if at.topic == topic and text:
                version, offset = text.split()
                found[at.partition] = version, int(offset)
        return found
