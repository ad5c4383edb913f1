"""`feedmill models shadow` names a challenger, and `list` and `health` show what became of it."""

from __future__ import annotations

import json

import msgspec
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from builders.commands import Run
from builders.waiting import until
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import decode_challenger, encode
from feedmill.events.instance import Instance, RefusedRelease
from feedmill.models.store import installed_version
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.loading import store_of
from feedmill.streams.settings.environment import Environment

pytestmark = pytest.mark.stack


@pytest.fixture
def installed(stack: StackAddress, prefix: str) -> str:
    """Make the topics; return the installed version of spam."""
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    stamped = {"message.timestamp.type": "LogAppendTime"}
    names = {prefix + name for name in ("models", "instances")}
    admin.create_topics([NewTopic(name, 1, 1, topic_configs=stamped) for name in names])
    until(lambda: names <= set(admin.list_topics()))
    admin.close()
    version = installed_version(store_of("spam", None), "spam")
    assert version is not None
    return version


def test_a_challenger_is_named_seen_and_stopped(
    run: Run, stack: StackAddress, prefix: str, installed: str
) -> None:
    never = run("models shadow spam --stop --timeout 0")
    assert never.exit_code == 1
    assert "no version of `spam` scores in shadow" in never.stderr

    line = f"models shadow spam {installed[:8]} --core-share 0.2 --timeout 0 --by ann --json"
    named = json.loads(run(line).stdout)
    assert (named["model"], named["version"], named["offset"]) == ("spam", installed[:12], 0)
    environment = Environment(kafka=stack.kafka, topic_prefix=prefix)
    (record,) = read_all(environment, "models")
    model, challenger = decode_challenger(("spam",), record.key, record.value)
    assert challenger is not None
    assert (model, challenger.sha256, challenger.core_share) == ("spam", installed, 0.2)
    assert challenger.by == "ann"
    assert len(challenger.answers) > 5
    (row,) = json.loads(run("models list spam --json").stdout)["versions"]
    assert row["state"] == "in force, installed, shadow"

    run("models shadow spam --stop --timeout 0")
    (row,) = json.loads(run("models list spam --json").stdout)["versions"]
    assert row["state"] == "in force, installed"
    again = run("models shadow spam --stop --timeout 0")
    assert again.exit_code == 1


def test_health_shows_a_challenger_that_was_stopped_and_does_not_fail(
    run: Run, stack: StackAddress, prefix: str, installed: str
) -> None:
    run(f"models shadow spam {installed[:8]} --timeout 0")
    beat = Instance(
        stage="spam",
        instance="1",
        host="here",
        pid=1,
        build="test",
        config_offset=-1,
        refused=(),
        models={"spam": installed[:12]},
        ready=True,
        lag=0,
        at_ms=0,
        models_offset=0,
        refused_releases=(RefusedRelease("shadow/spam", 0, "stopped: it says nan"),),
    )
    scores = msgspec.structs.replace(
        beat, instance="2", refused_releases=(), challengers={"spam": installed[:12]}
    )
    producer = KafkaProducer(bootstrap_servers=stack.kafka)
    for one in (beat, scores, msgspec.structs.replace(beat, instance="3", refused_releases=())):
        key = f"spam/{one.instance}".encode()
        producer.send(f"{prefix}instances", key=key, value=encode(one)).get(20)
    producer.close()
    result = run("models health --json")
    assert result.exit_code == 0, result.output
    rows = [row for row in json.loads(result.stdout) if row["model"] == "shadow/spam"]
    assert [(row["instance"], row["state"], row["reason"]) for row in rows] == [
        ("spam/1", "stopped", "stopped: it says nan"),
        ("spam/2", "in shadow", ""),
        ("spam/3", "loading", ""),
    ]
