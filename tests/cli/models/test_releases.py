"""`feedmill models release`, `shadow`, `rollback`, `list` and `health` on a real Kafka."""

import json
import time
from typing import Any

import msgspec
import pytest

from builders.commands import CommandTopics, Run
from builders.events import heartbeat
from builders.golden import Golden
from builders.transcript import transcript
from feedmill.events.decode import decode_candidate
from feedmill.events.instance import ComparedPosts, RefusedRelease, RunningCandidate
from feedmill.events.release import Candidate, ListRelease, ModelRelease
from feedmill.filters.model import STORE
from feedmill.models.artifact import read_card
from feedmill.streams.releases.loading import shipped_sha256

pytestmark = pytest.mark.stack

CANARY = Candidate("a" * 64, (0.5,), partitions=1, promotes=True, until_ms=2**50)
HOUR_S = 3600


@pytest.fixture
def shipped(topics: CommandTopics) -> str:
    """Make the topics; return the version of spam that ships."""
    topics.make("models", "instances", "audit", posts=4)
    return shipped_sha256("spam")


def beat(topics: CommandTopics, version: str, instance: str = "1", **more: Any) -> None:
    """Write the heartbeat of a worker of spam."""
    said = {"models": {"spam": version[:12]}, "models_offset": 0, "at_ms": 0, **more}
    one = heartbeat(**{"instance": instance, **said})
    topics.send("instances", f"{one.stage}/{instance}", one)


def healths(run: Run, model: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """The rows of `models health` about this."""
    result = run("models health --json")
    assert result.exit_code == exit_code, result.output
    return [row for row in json.loads(result.stdout) if row["model"] == model]


def hidden(shipped: str) -> dict[str, str]:
    day = read_card(STORE, "spam").trained_on
    versions = {shipped[:length]: "<version>" for length in (64, 12, 8)}
    return {**versions, day: "<day>", str(STORE): "<shipped>"}


def test_canaries_and_challengers_begin_are_listed_and_end(
    run: Run, topics: CommandTopics, shipped: str, golden: Golden
) -> None:
    version = shipped[:8]
    lines = (
        *(f"release spam {version} --canary 4", f"release engagement {version} --canary 1"),
        f"release spam {version} --canary 3 --after 90s --may-hide 0.05 --by ann",
        # Nothing was released before: the shipped version judges all partitions.
        *("list spam --json", "rollback spam --by ann", "list spam --json"),
        *("shadow spam --stop", f"shadow spam {version} --core-share 0.2 --by ann --json"),
        *("list spam --json", "shadow spam --stop --by ann", "shadow spam --stop"),
        # In a canary a rollback ends it, and the release before stays in force.
        *(f"release spam {version} --by ann", f"release spam {version} --canary 1 --by ann"),
        *("rollback spam --by ann", "list spam"),
    )
    commands = [
        f"models {line} --timeout 0" if "list" not in line else f"models {line}" for line in lines
    ]
    golden.check("model_releases.txt", transcript(run, commands, hidden(shipped)))
    records = topics.read("models")
    _, canary = decode_candidate(("spam",), records[0].key, records[0].value)
    assert canary is not None
    assert (canary.partitions, canary.promotes, canary.by) == (3, True, "ann")
    assert (canary.may_hide, canary.may_demote) == (0.05, 0.02)
    assert abs(canary.until_ms - time.time() * 1000 - 90_000) < 60_000
    assert (records[1].key, records[1].value) == (b"candidate/spam", None)
    _, challenger = decode_candidate(("spam",), records[2].key, records[2].value)
    assert challenger is not None
    assert (challenger.partitions, challenger.promotes, challenger.until_ms) == (0, False, 0)
    assert (challenger.sha256, challenger.core_share) == (shipped, 0.2)
    assert len(challenger.answers) == len(canary.answers) > 5
    assert [(one.key, bool(one.value)) for one in records[-3:]] == [
        *((b"spam", True), (b"candidate/spam", True)),
        (b"candidate/spam", False),
    ]


def test_health_says_of_each_release_which_instance_runs_it_and_why_not(
    run: Run, topics: CommandTopics, shipped: str, golden: Golden
) -> None:
    said: list[str] = []

    def look(*models: str) -> None:
        result = run("models health --json")
        rows = [row for row in json.loads(result.stdout) if row["model"] in models]
        said.extend(
            " ".join([row["model"], row["instance"], row["version"], row["state"], row["reason"]])
            for row in rows
        )
        said.extend([f"exit {result.exit_code}", result.stderr])

    def refused(key: str, offset: int, reason: str = "it says nan") -> RefusedRelease:
        return RefusedRelease(key, offset, reason)

    topics.send("models", "candidate/spam", CANARY)
    running = RunningCandidate("a" * 12, 0, {0: ComparedPosts(100, 2, 1, 4)})
    beat(topics, shipped, "1", candidates={"spam": running})
    beat(topics, shipped, "2", refused_releases=(refused("candidate/spam", 0),))
    beat(topics, shipped, "3")
    look("candidate/spam")
    ended = msgspec.structs.replace(CANARY, ends=0, reason="spam/2: nan")
    topics.send("models", "candidate/spam", ended)
    look("candidate/spam")
    at = topics.send("models", "candidate/spam", Candidate(shipped, (0.5,)))
    beat(topics, shipped, "1", models_offset=at, refused_releases=(refused("candidate/spam", at),))
    scores = {"spam": RunningCandidate(shipped[:12], at)}
    beat(topics, shipped, "2", models_offset=at, candidates=scores)
    look("candidate/spam")
    # A release and a list that wait for the store, and a list whose last record is refused; every
    # stage of a worker tells of all that the worker refused.
    for instance in ("2", "3"):
        topics.send("instances", f"spam/{instance}", None)
    at = topics.send("models", "spam", ModelRelease("a" * 64, (0.5,)))
    for name, digit in (("bad", "a"), ("good", "b"), ("bad", "c"), ("good", "d")):
        at = topics.send("models", f"list/spam/{name}", ListRelease(digit * 64))
    both = (refused("list/spam/good", at - 2, "earlier"), refused("list/spam/bad", at - 1, "gone"))
    more: dict[str, Any] = {"models_offset": at, "refused_releases": both}
    away = (refused("spam", at - 4, "not reachable"), refused("list/spam/good", at, "busy"))
    beat(topics, shipped, waiting_releases=away, **more)
    beat(topics, shipped, stage="nsfw", models={}, **more)
    look("spam", "list/spam/bad", "list/spam/good")
    text = "\n".join(said)
    for given, word in hidden(shipped).items():
        text = text.replace(given, word)
    golden.check("model_health.txt", text)


def test_health_finds_a_running_instance_on_a_host_whose_clock_is_behind(
    run: Run, topics: CommandTopics, shipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(topics, shipped)
    # Where it is ahead, only the members of a group tell that somebody runs.
    seconds, nanoseconds, off_s = time.time, time.time_ns, -2 * HOUR_S
    monkeypatch.setattr(time, "time", lambda: seconds() + off_s)
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + off_s * 10**9)
    (row,) = healths(run, "spam")
    monkeypatch.undo()
    assert (row["instance"], row["state"]) == ("spam/1", "shipped")


def test_the_history_has_canaries_shadows_and_who_went_back(
    run: Run, topics: CommandTopics, shipped: str, golden: Golden
) -> None:
    topics.send("models", "spam", ModelRelease("a" * 64, (0.5,), "ann", "first"))
    topics.send("models", "candidate/spam", Candidate(shipped, (0.5,), "bob"))
    run("models shadow spam --stop --timeout 0 --by cat --note enough")
    canary = Candidate(shipped, (0.5,), "dan", partitions=1)
    began = topics.send("models", "candidate/spam", canary)
    ended = msgspec.structs.replace(canary, ends=began, reason="spam/2: it says nan")
    topics.send("models", "candidate/spam", ended)
    back = "rollback spam --timeout 0 --by eve"
    again = (f"{back} --note 'hides tea'", f"{back} --json", back)
    lines = ("list spam", *again, "list spam --json", "list spam")
    said = transcript(run, [f"models {line}" for line in lines], hidden(shipped))
    golden.check("model_history.txt", said)


def test_a_refused_release_says_that_it_stays_and_how_to_take_it_back(
    run: Run, topics: CommandTopics, shipped: str
) -> None:
    refusals = tuple(
        RefusedRelease(key, offset, "no artifact at models/")
        for offset, key in ((0, "spam"), (2, "candidate/spam"))
    )
    beat(topics, shipped, models_offset=2, refused_releases=refusals)
    refused = run(f"models release spam {shipped[:8]} --timeout 5")
    assert refused.exit_code == 1
    assert refused.stderr.endswith(
        "feedmill: refused by spam/1: no artifact at models/; it stays on `models`, and an"
        " instance that starts later runs it if it can by then: `feedmill models rollback spam`"
        " takes it back\n"
    )
    beat(topics, shipped, models_offset=2, refused_releases=refusals)
    refused = run(f"models shadow spam {shipped[:8]} --timeout 5")
    assert "`feedmill models shadow spam --stop` takes it back" in refused.stderr
