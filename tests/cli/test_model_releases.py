"""`feedmill models release`, `shadow`, `rollback`, `list` and `health` on a real Kafka."""

import json
import time
from typing import Any

import msgspec
import pytest

from builders.commands import CommandTopics, Run
from feedmill.events.decode import decode_canary, decode_challenger
from feedmill.events.instance import Instance, RefusedRelease
from feedmill.events.release import Canary, Challenger, ListRelease, ModelRelease
from feedmill.models.store import installed_version
from feedmill.streams.releases.loading import store_of

pytestmark = pytest.mark.stack

CANARY = Canary("a" * 64, (0.5,), partitions=1, after_ms=1000)
HOUR_S = 3600


@pytest.fixture
def installed(topics: CommandTopics) -> str:
    """Make the topics; return the installed version of spam."""
    topics.make("models", "instances", "audit", posts=4)
    version = installed_version(store_of("spam", None), "spam")
    assert version is not None
    return version


def beat(topics: CommandTopics, version: str, instance: str = "1", **more: Any) -> None:
    """Write the heartbeat of a worker of spam."""
    one = Instance(
        *("spam", instance, "here", 1, "test", -1, (), {"spam": version[:12]}, True, 0, 0),
        models_offset=0,
    )
    one = msgspec.structs.replace(one, **more)
    topics.send("instances", f"{one.stage}/{instance}", one)


def healths(run: Run, model: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """The rows of `models health` about this."""
    result = run("models health --json")
    assert result.exit_code == exit_code, result.output
    return [row for row in json.loads(result.stdout) if row["model"] == model]


def state_of(run: Run) -> str:
    (row,) = json.loads(run("models list spam --json").stdout)["versions"]
    return str(row["state"])


def test_a_canary_begins_and_a_rollback_ends_it(
    run: Run, topics: CommandTopics, installed: str
) -> None:
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
    (record,) = topics.read("models")
    model, canary = decode_canary(("spam",), record.key, record.value)
    assert canary is not None
    assert (model, canary.partitions, canary.after_ms, canary.by) == ("spam", 3, 90_000, "ann")
    assert len(canary.answers) > 5
    assert state_of(run) == "in force, installed, canary (partitions: 3)"

    rolled = run("models rollback spam --timeout 0")
    assert rolled.exit_code == 0, rolled.output
    # Nothing was released before: the installed version judges all partitions.
    last = topics.read("models")[-1]
    assert (last.key, last.value) == (b"spam", None)
    assert state_of(run) == "in force, installed"


def test_a_challenger_is_named_seen_and_stopped(
    run: Run, topics: CommandTopics, installed: str
) -> None:
    never = run("models shadow spam --stop --timeout 0")
    assert never.exit_code == 1
    assert "no version of `spam` scores in shadow" in never.stderr

    line = f"models shadow spam {installed[:8]} --core-share 0.2 --timeout 0 --by ann --json"
    named = json.loads(run(line).stdout)
    assert (named["model"], named["version"], named["offset"]) == ("spam", installed[:12], 0)
    (record,) = topics.read("models")
    model, challenger = decode_challenger(("spam",), record.key, record.value)
    assert challenger is not None
    assert (model, challenger.sha256, challenger.core_share) == ("spam", installed, 0.2)
    assert challenger.by == "ann"
    assert len(challenger.answers) > 5
    assert state_of(run) == "in force, installed, shadow"

    run("models shadow spam --stop --timeout 0")
    assert state_of(run) == "in force, installed"
    assert run("models shadow spam --stop --timeout 0").exit_code == 1


def test_a_rollback_in_a_canary_releases_the_version_in_force_again(
    run: Run, topics: CommandTopics, installed: str
) -> None:
    run(f"models release spam {installed[:8]} --timeout 0")
    run(f"models release spam {installed[:8]} --canary 1 --timeout 0")
    run("models rollback spam --timeout 0")
    last = topics.read("models")[-1]
    released = json.loads(last.value or b"")
    assert (last.key, released["sha256"]) == (b"spam", installed)
    assert released["note"] == "end of the canary at 2"


def test_health_shows_where_a_canary_judges_and_why_it_went_back(
    run: Run, topics: CommandTopics, installed: str
) -> None:
    topics.send("models", "canary/spam", CANARY)
    refusal = RefusedRelease("canary/spam", 0, "it says nan")
    beat(topics, installed, "1", canaries={"spam": "a" * 12})
    beat(topics, installed, "2", refused_releases=(refusal,))
    beat(topics, installed, "3")

    def states() -> list[tuple[str, str]]:
        rows = healths(run, "canary/spam")
        assert {row["version"] for row in rows} == {"a" * 12}
        return [(row["state"], row["reason"]) for row in rows]

    assert states() == [("canary", ""), ("stopped", "it says nan"), ("loading", "")]
    ended = msgspec.structs.replace(CANARY, ends=0, reason="spam/2: nan")
    topics.send("models", "canary/spam", ended)
    assert states() == [("went back", "spam/2: nan")] * 3


def test_health_shows_a_challenger_that_was_stopped_and_does_not_fail(
    run: Run, topics: CommandTopics, installed: str
) -> None:
    run(f"models shadow spam {installed[:8]} --timeout 0")
    refusal = RefusedRelease("shadow/spam", 0, "stopped: it says nan")
    beat(topics, installed, "1", refused_releases=(refusal,))
    beat(topics, installed, "2", challengers={"spam": installed[:12]})
    beat(topics, installed, "3")
    rows = healths(run, "shadow/spam")
    assert [(row["instance"], row["state"], row["reason"]) for row in rows] == [
        ("spam/1", "stopped", "stopped: it says nan"),
        ("spam/2", "in shadow", ""),
        ("spam/3", "loading", ""),
    ]


@pytest.mark.parametrize("hours_off", [-2, 2])
def test_health_finds_a_running_instance_on_a_host_whose_clock_is_off(
    hours_off: int,
    run: Run,
    topics: CommandTopics,
    installed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beat(topics, installed)
    seconds, nanoseconds, off_s = time.time, time.time_ns, hours_off * HOUR_S
    monkeypatch.setattr(time, "time", lambda: seconds() + off_s)
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + off_s * 10**9)
    (row,) = healths(run, "spam")
    monkeypatch.undo()
    assert (row["instance"], row["state"]) == ("spam/1", "installed")


def test_health_fails_for_a_release_that_waits_for_the_store(
    run: Run, topics: CommandTopics, installed: str
) -> None:
    topics.send("models", "spam", ModelRelease("a" * 64, (0.5,)))
    waiting = RefusedRelease("spam", 0, "not reachable")
    beat(topics, installed, waiting_releases=(waiting,))
    (row,) = healths(run, "spam", exit_code=1)
    assert (row["state"], row["reason"]) == ("waiting", "not reachable")
    assert row["version"] == installed[:12]


def test_health_shows_a_list_where_its_filter_refused_its_last_record(
    run: Run, topics: CommandTopics, installed: str
) -> None:
    for name, digit in (("bad", "a"), ("good", "b"), ("bad", "c"), ("good", "d")):
        topics.send("models", f"list/spam/{name}", ListRelease(digit * 64))
    refusals = (
        RefusedRelease("list/spam/good", 1, "earlier"),
        RefusedRelease("list/spam/bad", 2, "it is missing"),
    )
    beat(topics, installed, models_offset=3, refused_releases=refusals)
    # Every stage of a worker tells of all that the worker refused.
    beat(topics, installed, stage="nsfw", models={}, models_offset=3, refused_releases=refusals)
    (row,) = healths(run, "list/spam/bad", exit_code=1)
    assert (row["instance"], row["version"]) == ("spam/1", "c" * 12)
    assert row["reason"] == "it is missing"
    assert healths(run, "list/spam/good", exit_code=1) == []
    said = run("models health").stderr
    assert "list/spam/bad on spam/1" in said
    assert "`feedmill lists rollback spam bad` takes it back" in said


def test_the_history_has_canaries_shadows_and_who_went_back(
    run: Run, topics: CommandTopics, installed: str
) -> None:
    topics.send("models", "spam", ModelRelease(installed, (0.5,), "ann", "first"))
    topics.send("models", "shadow/spam", Challenger(installed, (0.5,), "bob"))
    run("models shadow spam --stop --timeout 0 --by cat --note enough")
    canary = Canary(installed, (0.5,), "dan", partitions=1, after_ms=1000)
    began = topics.send("models", "canary/spam", canary)
    ended = msgspec.structs.replace(canary, ends=began, reason="spam/2: it says nan")
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
        *(
            str(topics.read("models")[-1].offset),
            *lines[-1].split()[1:3],
            "released",
            "(installed)",
            "eve",
        ),
        *("rollback", "to", "the", "installed", "version"),
    ]


def test_a_refused_release_says_that_it_stays_and_how_to_take_it_back(
    run: Run, topics: CommandTopics, installed: str
) -> None:
    refusals = tuple(
        RefusedRelease(key, offset, "no artifact at models/")
        for offset, key in ((0, "spam"), (2, "shadow/spam"))
    )
    beat(topics, installed, models_offset=2, refused_releases=refusals)
    refused = run(f"models release spam {installed[:8]} --timeout 5")
    assert refused.exit_code == 1
    assert refused.stderr.endswith(
        "feedmill: refused by spam/1: no artifact at models/; it stays on `models`, and an"
        " instance that starts later runs it if it can by then: `feedmill models rollback spam`"
        " takes it back\n"
    )
    refused = run(f"models shadow spam {installed[:8]} --timeout 5")
    assert "`feedmill models shadow spam --stop` takes it back" in refused.stderr
