import os
import shlex

import pytest
from click.testing import CliRunner, Result

from builders.commands import CommandTopics, Run
from feedmill.cli import progress
from feedmill.cli.main import main
from feedmill.deploy.local import StackAddress
from feedmill.operations import changes
from feedmill.streams.kafka import topic_reader
from feedmill.streams.kafka import topics as kafka_topics


@pytest.fixture(autouse=True)
def _no_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work tells nothing in between: on a slow machine it would stand among the output."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 3_600.0)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of feedmill is in the environment."""
    for variable in [name for name in os.environ if name.startswith("FEEDMILL_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def _connects_at_once_or_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Kafka that is away is given up soon."""
    monkeypatch.setattr(topic_reader, "_CONNECT_MS", 300)
    monkeypatch.setattr(kafka_topics, "_CONNECT_MS", 300)
    monkeypatch.setattr(changes, "_CONNECT_S", 0.3)


@pytest.fixture
def run(stack: StackAddress, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `feedmill …` against the stack, in this process; what it changed is visible then."""
    monkeypatch.setattr(changes, "_VISIBLE_S", 60.0)
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setenv("FEEDMILL_KAFKA", stack.kafka)
    monkeypatch.setenv("FEEDMILL_REDIS", stack.redis)
    monkeypatch.setenv("FEEDMILL_TOPIC_PREFIX", prefix)
    monkeypatch.setenv("FEEDMILL_REDIS_PREFIX", prefix)

    def run_line(line: str) -> Result:
        return CliRunner().invoke(main, shlex.split(line))

    return run_line


@pytest.fixture
def topics_made(topics: CommandTopics) -> None:
    topics.make("config", "overrides", "instances", "audit")
