"""`feedmill lists release|rollback|withdraw` write what workers follow, and `list` shows it."""

import json
from pathlib import Path
from typing import Any

import pytest

from builders.commands import CommandTopics, Run
from builders.lists import stored_list
from feedmill.events.decode import decode_list_release

pytestmark = pytest.mark.stack


@pytest.fixture
def store(topics: CommandTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the topics, and name a store."""
    topics.make("models", "instances", "audit")
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path))
    return tmp_path


def test_a_list_is_released_rolled_back_and_withdrawn(
    run: Run, topics: CommandTopics, store: Path
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

    records = [decode_list_release(("spam",), one.key, one.value) for one in topics.read("models")]
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


REFUSED = {
    "release spam bad": "several versions",
    "release spam none": "no list `spam/none` in ",
    "release nsfw bad": "there are: spam/bad",
    "release spam bad ffffff": "no version of the list `spam/bad` that begins with ffffff",
    "withdraw spam bad": "is not in force",
    "rollback spam bad": "was never released",
}


def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    run: Run, topics: CommandTopics, store: Path
) -> None:
    stored_list(store, "domains", ["evil.example"])
    stored_list(store, "domains", ["worse.example"])
    for line, reason in REFUSED.items():
        result = run(f"lists {line} --timeout 0")
        assert result.exit_code == 1, line
        assert reason in result.stderr
    assert topics.read("models") == []


def test_an_altered_list_is_not_released(run: Run, store: Path) -> None:
    path = store / f"{stored_list(store, 'domains', ['evil.example'])}.npz"
    path.write_bytes(path.read_bytes()[:-1])
    result = run("lists release spam bad --timeout 0")
    assert result.exit_code == 1
    assert "was altered" in result.stderr
