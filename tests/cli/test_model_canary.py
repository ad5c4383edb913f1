"""`feedmill models release --canary` begins one, and `list`, `health`, `rollback` know of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from builders.commands import Run
from builders.waiting import until
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import decode_canary, encode
from feedmill.events.instance import Instance, RefusedRelease
from feedmill.events.release import Canary, Challenger, ModelRelease
from feedmill.models.store import installed_version
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.loading import store_of
from feedmill.streams.settings.environment import Environment

pytestmark = pytest.mark.stack


@pytest.fixture
def installed(stack: StackAddress, prefix: str) -> str:
    """Make the topics, `posts` with four partitions; return the installed version of spam."""
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    stamped = {"message.timestamp.type": "LogAppendTime"}
    sizes = {prefix + "models": 1, prefix + "instances": 1, prefix + "posts": 4}
    admin.create_topics([NewTopic(name, n, 1, topic_configs=stamped) for name, n in sizes.items()])
    until(lambda: sizes.keys() <= set(admin.list_topics()))
    admin.close()
    version = installed_version(store_of("spam", None), "spam")
    assert version is not None
    return version


class Topics:
    """What a test writes to the topics, and reads of `models`."""

    def __init__(self, stack: StackAddress, prefix: str) -> None:
        self._producer = KafkaProducer(bootstrap_servers=stack.kafka)
        self._environment = Environment(kafka=stack.kafka, topic_prefix=prefix)
        self._prefix = prefix

    def send(self, topic: str, key: str, value: Any) -> None:
        self._producer.send(self._prefix + topic, key=key.encode(), value=encode(value)).get(20)

    def models(self) -> list[tuple[bytes | None, bytes | None]]:
        return [(one.key, one.value) for one in read_all(self._environment, "models")]


@pytest.fixture
def topics(stack: StackAddress, prefix: str, installed: str) -> Topics:
    return Topics(stack, prefix)


def test_a_canary_begins_and_a_rollback_ends_it(run: Run, topics: Topics, installed: str) -> None:
    for line, refusal in {
        f"spam {installed[:8]} --canary 4": "`posts` has 4 partitions",
        f"engagement {installed[:8]} --canary 1": "`engagement` has no canaries",
    }.items():
        refused = run(f"models release {line} --timeout 0")
        assert refused.exit_code == 1
        assert refusal in refused.stderr
    line = f"models release spam {installed[:8]} --canary 3 --after 90s --timeout 0 --by ann --json"
    begun = json.loads(run(line).stdout)
    assert (begun["model"], begun["version"], begun["offset"]) == ("spam", installed[:12], 0)
    ((key, value),) = topics.models()
    model, canary = decode_canary(("spam",), key, value)
    assert canary is not None
    assert (model, canary.partitions, canary.after_ms, canary.by) == ("spam", 3, 90_000, "ann")
    assert len(canary.answers) > 5
    (row,) = json.loads(run("models list spam --json").stdout)["versions"]
    assert row["state"] == "in force, installed, canary (partitions: 3)"

    rolled = run("models rollback spam --timeout 0")
    assert rolled.exit_code == 0, rolled.output
    # Nothing was released before: the installed version judges all partitions.
    assert topics.models()[-1] == (b"spam", None)
    (row,) = json.loads(run("models list spam --json").stdout)["versions"]
    assert row["state"] == "in force, installed"


def test_a_rollback_in_a_canary_releases_the_version_in_force_again(
    run: Run, topics: Topics, installed: str
) -> None:
    run(f"models release spam {installed[:8]} --timeout 0")
    run(f"models release spam {installed[:8]} --canary 1 --timeout 0")
    run("models rollback spam --timeout 0")
    key, value = topics.models()[-1]
    released = json.loads(value or b"")
    assert (key, released["sha256"]) == (b"spam", installed)
    assert released["note"] == "end of the canary at 1"


def test_health_shows_where_a_canary_judges_and_why_it_went_back(
    run: Run, topics: Topics, installed: str
) -> None:
    canary = Canary("a" * 64, (0.5,), partitions=1, after_ms=1000)
    topics.send("models", "canary/spam", canary)
    beat = Instance(
        *("spam", "1", "here", 1, "test", -1, (), {"spam": installed[:12]}, True, 0, 0),
        models_offset=0,
        canaries={"spam": "a" * 12},
    )
    refusal = RefusedRelease("canary/spam", 0, "it says nan")
    topics.send("instances", "spam/1", beat)
    for instance, refusals in (("2", (refusal,)), ("3", ())):
        other = msgspec.structs.replace(
            beat, instance=instance, refused_releases=refusals, canaries={}
        )
        topics.send("instances", f"spam/{instance}", other)

    def states() -> list[tuple[str, str]]:
        result = run("models health --json")
        assert result.exit_code == 0, result.output
        rows = [row for row in json.loads(result.stdout) if row["model"] == "canary/spam"]
        assert {row["version"] for row in rows} == {"a" * 12}
        return [(row["state"], row["reason"]) for row in rows]

    assert states() == [("canary", ""), ("stopped", "it says nan"), ("loading", "")]
    topics.send(
        "models", "canary/spam", msgspec.structs.replace(canary, ends=0, reason="spam/2: nan")
    )
    assert states() == [("went back", "spam/2: nan")] * 3


def test_the_history_has_canaries_shadows_and_who_went_back(
    run: Run, topics: Topics, installed: str
) -> None:
    topics.send("models", "spam", ModelRelease(installed, (0.5,), "ann", "first"))
    topics.send("models", "shadow/spam", Challenger(installed, (0.5,), "bob"))
    run("models shadow spam --stop --timeout 0 --by cat --note enough")
    canary = Canary(installed, (0.5,), "dan", partitions=1, after_ms=1000)
    topics.send("models", "canary/spam", canary)
    ended = msgspec.structs.replace(canary, ends=3, reason="spam/2: it says nan")
    topics.send("models", "canary/spam", ended)
    back = run("models rollback spam --timeout 0 --by eve")
    version = installed[:12]
    assert f"`spam@{version}` is the installed version of " in back.stderr
    assert back.stderr.endswith(", so it stays in force; for another version: train another one\n")
    said = json.loads(run("models list spam --json").stdout)
    assert [(o["what"], o["version"], o["by"], o["note"]) for o in said["history"]] == [
        ("released", version, "ann", "first"),
        ("scores in shadow", version, "bob", ""),
        ("shadow ends", "", "cat", "enough"),
        ("canary begins", version, "dan", ""),
        ("canary ends", version, "dan", "spam/2: it says nan"),
        ("released", "", "eve", "rollback to the installed version"),
    ]
    assert [(o["version"], o["by"]) for o in said["releases"]] == [
        (version, "ann"),
        ("(installed)", "eve"),
    ]
    lines = run("models list spam").stdout.splitlines()
    assert lines[-1].split() == [
        *("5", *lines[-1].split()[1:3], "released", "(installed)", "eve"),
        *("rollback", "to", "the", "installed", "version"),
    ]


def test_a_refused_release_says_that_it_stays_and_how_to_take_it_back(
    run: Run, topics: Topics, installed: str
) -> None:
    beat = Instance(
        *("spam", "1", "here", 1, "test", -1, (), {"spam": installed[:12]}, True, 0, 0),
        models_offset=2,
        refused_releases=tuple(
            RefusedRelease(key, offset, "no artifact at models/")
            for offset, key in enumerate(("spam", "shadow/spam"))
        ),
    )
    topics.send("instances", "spam/1", beat)
    refused = run(f"models release spam {installed[:8]} --timeout 5")
    assert refused.exit_code == 1
    assert refused.stderr.endswith(
        "feedmill: refused by spam/1: no artifact at models/; it stays on `models`, and an"
        " instance that starts later runs it if it can by then: `feedmill models rollback spam`"
        " takes it back\n"
    )
    refused = run(f"models shadow spam {installed[:8]} --timeout 5")
    assert "`feedmill models shadow spam --stop` takes it back" in refused.stderr
