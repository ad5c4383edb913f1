"""`feedmill models health` on a host whose clock is off."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from builders.commands import Run
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import encode
from feedmill.events.instance import Instance, RefusedRelease
from feedmill.events.release import ListRelease, ModelRelease
from feedmill.models.store import installed_version
from feedmill.streams.releases.loading import store_of

HOUR_S = 3600


@pytest.fixture
def topics(stack: StackAddress, prefix: str) -> None:
    """`models` and `instances`, with the broker's timestamps."""
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    stamped = {"message.timestamp.type": "LogAppendTime"}
    names = [f"{prefix}{name}" for name in ("models", "instances")]
    admin.create_topics([NewTopic(name, 1, 1, topic_configs=stamped) for name in names])
    until = time.monotonic() + 20
    while not set(names) <= set(admin.list_topics()):
        assert time.monotonic() < until
        time.sleep(0.02)
    admin.close()


def spam_worker() -> Instance:
    version = installed_version(store_of("spam", None), "spam")
    assert version is not None
    return Instance(
        stage="spam",
        instance="1",
        host="here",
        pid=1,
        build="test",
        config_offset=-1,
        refused=(),
        models={"spam": version[:12]},
        ready=True,
        lag=0,
        at_ms=0,
    )


def send(stack: StackAddress, topic: str, key: str, value: Any) -> None:
    producer = KafkaProducer(bootstrap_servers=stack.kafka)
    content = None if value is None else encode(value)
    producer.send(topic, key=key.encode(), value=content).get(20)
    producer.close()


@pytest.mark.parametrize("hours_off", [-2, 2])
def test_a_running_instance_is_found_by_a_host_whose_clock_is_off(
    hours_off: int,
    run: Run,
    stack: StackAddress,
    prefix: str,
    topics: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send(stack, f"{prefix}instances", "spam/1", spam_worker())
    seconds, nanoseconds, off_s = time.time, time.time_ns, hours_off * HOUR_S
    monkeypatch.setattr(time, "time", lambda: seconds() + off_s)
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + off_s * 10**9)
    result = run("models health --json")
    monkeypatch.undo()
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.output)
    assert (row["model"], row["instance"], row["state"]) == ("spam", "spam/1", "installed")


def test_an_instance_that_stopped_is_not_shown(
    run: Run, stack: StackAddress, prefix: str, topics: None
) -> None:
    send(stack, f"{prefix}instances", "spam/1", spam_worker())
    other = msgspec.structs.replace(spam_worker(), instance="2")
    send(stack, f"{prefix}instances", "spam/2", other)
    send(stack, f"{prefix}instances", "spam/1", None)
    rows = json.loads(run("models health --json").output)
    assert [row["instance"] for row in rows] == ["spam/2"]


def test_a_release_that_waits_for_the_store_is_shown_and_fails(
    run: Run, stack: StackAddress, prefix: str, topics: None
) -> None:
    send(stack, f"{prefix}models", "spam", ModelRelease("a" * 64, (0.5,)))
    waits = msgspec.structs.replace(
        spam_worker(), waiting_releases=(RefusedRelease("spam", 0, "not reachable"),)
    )
    send(stack, f"{prefix}instances", "spam/1", waits)
    result = run("models health --json")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert (row["state"], row["reason"]) == ("waiting", "not reachable")
    assert row["version"] == waits.models["spam"]


def test_a_list_is_shown_where_its_filter_refused_its_last_record(
    run: Run, stack: StackAddress, prefix: str, topics: None
) -> None:
    for name, digit in (("bad", "a"), ("good", "b"), ("bad", "c"), ("good", "d")):
        send(stack, f"{prefix}models", f"list/spam/{name}", ListRelease(digit * 64))
    refusals = (
        RefusedRelease("list/spam/good", 1, "earlier"),
        RefusedRelease("list/spam/bad", 2, "it is missing"),
    )
    refuses = msgspec.structs.replace(spam_worker(), models_offset=3, refused_releases=refusals)
    send(stack, f"{prefix}instances", "spam/1", refuses)
    # Every stage of a worker tells of all that the worker refused.
    other = msgspec.structs.replace(refuses, stage="nsfw", models={})
    send(stack, f"{prefix}instances", "nsfw/1", other)
    result = run("models health --json")
    assert result.exit_code == 1
    rows = [row for row in json.loads(result.stdout) if row["model"].startswith("list/")]
    assert [(row["model"], row["instance"], row["version"], row["reason"]) for row in rows] == [
        ("list/spam/bad", "spam/1", "c" * 12, "it is missing")
    ]
    assert "list/spam/bad on spam/1" in result.stderr
    assert "`feedmill lists rollback spam bad` takes it back" in result.stderr
