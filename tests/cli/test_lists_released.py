"""`feedmill lists release|rollback|withdraw` write what workers follow, and `list` shows it."""

from pathlib import Path

import pytest

from builders.commands import CommandTopics, Run
from builders.golden import Golden
from builders.lists import stored_list
from builders.transcript import transcript
from feedmill.events.decode import decode_list_release

pytestmark = pytest.mark.stack


@pytest.fixture
def store(topics: CommandTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the topics, and name a store."""
    topics.make("models", "instances", "audit")
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path))
    return tmp_path


def test_a_list_is_released_rolled_back_and_withdrawn(
    run: Run, topics: CommandTopics, store: Path, golden: Golden
) -> None:
    domains = ("evil.example", "worse.example")
    first, second = sorted(stored_list(store, "domains", [domain]) for domain in domains)
    hidden = {first[:12]: "<first>", first[:8]: "<first>", second[:12]: "<second>"}
    hidden |= {second[:8]: "<second>", str(store): "<store>"}
    # What cannot be done is refused, and nothing is written.
    refused = (
        *("release spam bad", "release spam none", "release nsfw bad", "release spam bad ffffff"),
        *("withdraw spam bad", "rollback spam bad", "list"),
    )
    done = (
        f"release spam bad {first[:8]} --by ann --note 'a wave'",
        *("list", f"release spam bad {second[:8]} --json", "list --json"),
        *("rollback spam bad --by bob", "withdraw spam bad", "list"),
        # Back from nothing to what was in force before.
        *("rollback spam bad", "list"),
    )
    said = transcript(run, [f"lists {line}" for line in (*refused, *done)], hidden)
    records = [decode_list_release(("spam",), one.key, one.value) for one in topics.read("models")]
    assert {(filter_name, name) for filter_name, name, _ in records} == {("spam", "bad")}
    assert [
        release and (release.sha256, release.by, release.note) for _, _, release in records
    ] == [
        *((first, "ann", "a wave"), (second, "somebody", ""), (first, "bob", "rollback")),
        *(None, (first, "somebody", "rollback")),
    ]
    # What is released and not in this store is listed, too.
    (store / f"{first}.npz").unlink()
    golden.check("list_releases.txt", said + transcript(run, ["lists list"], hidden))


def test_an_altered_list_is_not_released(run: Run, store: Path) -> None:
    path = store / f"{stored_list(store, 'domains', ['evil.example'])}.npz"
    path.write_bytes(path.read_bytes()[:-1])
    result = run("lists release spam bad --timeout 0")
    assert result.exit_code == 1
    assert "was altered" in result.stderr
