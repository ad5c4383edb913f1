"""`feedmill lists release|rollback|withdraw` write what workers follow, and `list` shows it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from builders.commands import Run
from builders.lists import stored_list
from builders.waiting import until
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import decode_list_release
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.environment import Environment

pytestmark = pytest.mark.stack


@pytest.fixture
def store(
    stack: StackAddress, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Make the topics, and name a store."""
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    stamped = {"message.timestamp.type": "LogAppendTime"}
    names = {prefix + name for name in ("models", "instances")}
    admin.create_topics([NewTopic(name, 1, 1, topic_configs=stamped) for name in names])
    until(lambda: names <= set(admin.list_topics()))
    admin.close()
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path))
    return tmp_path


def test_a_list_is_released_rolled_back_and_withdrawn(
    run: Run, stack: StackAddress, prefix: str, store: Path
) -> None:
    first = stored_list(store, "domains", ["evil.example"])
    second = stored_list(store, "domains", ["evil.example", "worse.example"])

    def done(line: str) -> Any:
        result = run(f"lists {line} --json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def states() -> dict[str, str]:
        return {row["version"]: row["state"] for row in done("list")}

    answer = done(f"release spam bad {first[:8]} --timeout 0 --by ann --note 'a wave'")
    assert answer == {
        "list": "list/spam/bad",
        "version": first[:12],
        "offset": 0,
        "instances": [],
    }
    assert states() == {first[:12]: "in force", second[:12]: ""}
    done(f"release spam bad {second[:8]} --timeout 0")
    assert states() == {first[:12]: "", second[:12]: "in force"}
    done("rollback spam bad --timeout 0 --by bob")
    done("withdraw spam bad --timeout 0")
    assert states() == {first[:12]: "", second[:12]: ""}
    # Back from nothing to what was in force before.
    done("rollback spam bad --timeout 0")

    environment = Environment(kafka=stack.kafka, topic_prefix=prefix)
    records = [
        decode_list_release(("spam",), one.key, one.value)
        for one in read_all(environment, "models")
    ]
    assert {(filter_name, name) for filter_name, name, _ in records} == {("spam", "bad")}
    releases = [release for _, _, release in records]
    assert [one and one.sha256 for one in releases] == [first, second, first, None, first]
    assert releases[0] is not None
    assert (releases[0].by, releases[0].note) == ("ann", "a wave")
    assert releases[2] is not None
    assert (releases[2].by, releases[2].note) == ("bob", "rollback")

    # What is released and not in this store is listed, too.
    (store / f"{first}.npz").unlink()
    assert states()[first[:12]] == "in force, not here"
    table = run("lists list").stdout
    assert "in force, not here" in table
    assert "made up" in table


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("release spam bad", "several versions"),
        ("release spam none", "no list `spam/none` in "),
        ("release nsfw bad", "there are: spam/bad"),
        ("release spam bad ffffff", "no version of the list `spam/bad` that begins with ffffff"),
        ("withdraw spam bad", "is not in force"),
        ("rollback spam bad", "was never released"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    run: Run, stack: StackAddress, prefix: str, store: Path, line: str, reason: str
) -> None:
    stored_list(store, "domains", ["evil.example"])
    stored_list(store, "domains", ["worse.example"])
    result = run(f"lists {shlex.join(line.split())} --timeout 0")
    assert result.exit_code == 1
    assert reason in result.stderr
    assert not list(read_all(Environment(kafka=stack.kafka, topic_prefix=prefix), "models"))


def test_an_altered_list_is_not_released(run: Run, store: Path) -> None:
    path = store / f"{stored_list(store, 'domains', ['evil.example'])}.npz"
    path.write_bytes(path.read_bytes()[:-1])
    result = run("lists release spam bad --timeout 0")
    assert result.exit_code == 1
    assert "was altered" in result.stderr
