"""`feedmill experiments start|stop|list|status` on a real Kafka and Redis."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from builders.commands import CommandTopics, Run, StartStage
from builders.golden import Golden
from builders.transcript import transcript
from builders.waiting import now_ms
from builders.written_redis import WrittenRedis
from feedmill.experiments.assignment import arm_of

pytestmark = pytest.mark.stack

ARMS = [
    {"name": "control", "share": 5000},
    {"name": "fresher", "share": 5000, "weights": {"half_life_hours": 6}},
]
SETTING: dict[str, Any] = {
    "arms": ARMS,
    "feeds": ["global", "mine"],
    "salt": "s-1",
    "traffic": 1000,
    "planned_n": 63_000,
    "guardrails": {"reporters": 0.25},
}


def written(folder: Path, name: str, **changes: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps({**SETTING, **changes}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topics: CommandTopics) -> Path:
    monkeypatch.chdir(tmp_path)
    topics.make("config", "instances", "audit", "exposures", "models")
    written(tmp_path, "fresher")
    return tmp_path


def write_lists(writer: WrittenRedis) -> None:
    """The lists that a combiner would write, but for `fresher` in the feed `mine`."""
    for feed in ("global", "mine"):
        writer.feed(feed, {"a": 1.0, "b": 2.0})
        info = f"{writer.prefix}feed:{{{feed}}}:info"
        writer.client.hset(info, "fresh_until_ms", now_ms() + 600_000)
    of_arm = f"{writer.prefix}feed:{{global}}:arm:fresher.fresher"
    writer.client.copy(f"{writer.prefix}feed:{{global}}", of_arm)
    writer.client.copy(f"{writer.prefix}feed:{{global}}:info", f"{of_arm}:info")
    writer.client.hset(f"{of_arm}:info", "written_at_ms", now_ms() - 125_000)


def test_an_experiment_from_its_start_to_its_stop(
    run: Run, folder: Path, writer: WrittenRedis, golden: Golden
) -> None:
    written(folder, "rival", feeds=["global"])
    written(folder, "later", feeds=["global"])
    written(folder, "changed", planned_n=70_000)
    write_lists(writer)
    lines = (
        *("experiments list", "experiments start fresher.json", "experiments status fresher"),
        "config set feeds/mine '{}'",
        "experiments start fresher.json --by ann --note 'are six hours better?'",
        *("experiments start fresher.json", "experiments start rival.json"),
        "experiments start changed.json --name fresher",
        *("experiments start fresher.json --traffic 500", "config set feeds/mine null"),
        *("config set weights/elsewhere alpha=1", "config set weights alpha=0.3 --by bob"),
        "config set gates/mine spam.hide_at=0.8",
        "models release spam shipped --by ann",
        "experiments start fresher.json --traffic 10000 --by ann",
        *("experiments status fresher", "experiments stop fesher", "experiments stop fresher"),
        *("config set weights alpha=0.4", "experiments stop fresher"),
        *("experiments start fresher.json", "experiments start later.json --by ann"),
        *("experiments list", "experiments status fresher"),
    )
    text = transcript(lambda line: run(f"{line}{timeout_of(line)}"), lines)
    text = re.sub(r"\b\d{13}\b", "<version>", re.sub(r"\b[0-9]+[sm]( ago|,|  )", r"<age>\1", text))
    golden.check("experiment_status.txt", text)


def timeout_of(line: str) -> str:
    """No stage answers in these tests."""
    changes = line.split()[1] in ("set", "start", "stop", "release")
    return " --timeout 0" if changes else ""


def test_files_take_alpha_and_beta_and_a_change_that_an_arm_does_not_follow_is_told(
    run: Run, folder: Path, topics: CommandTopics
) -> None:
    better = {"name": "better", "share": 5000, "weights": {"alpha": 0.8, "beta": 0.2}}
    written(folder, "aliased", feeds=["global"], arms=[ARMS[0], better])
    assert run("experiments start aliased.json --timeout 0").exit_code == 0
    [record] = topics.read("config")
    arm = json.loads(record.value or b"")["value"]["arms"][1]
    assert arm["weights"] == {"quality": 0.8, "engagement": 0.2}
    for line in ("config set weights alpha=0.3", "config rollback weights"):
        told = run(f"{line} --timeout 0").stderr
        assert "warning: the experiment `aliased` runs in global" in told
        assert "better keeps its own quality, engagement" in told
    assert run("config set gates spam.hide_at=0.8 --timeout 0").stderr == ""
    assert run("config set weights/mine alpha=0.3 --timeout 0").stderr == ""
    assert run("experiments stop aliased --timeout 0").exit_code == 0
    assert run("config set weights alpha=0.3 --timeout 0").stderr == ""


def test_what_runs_is_printed_as_json(run: Run, folder: Path, writer: WrittenRedis) -> None:
    before_ms = now_ms()
    run("config set feeds/mine '{}' --timeout 0")
    assert run("experiments start fresher.json --by ann --timeout 0").exit_code == 0
    write_lists(writer)
    run("config set weights/mine alpha=1 --timeout 0")
    shown = json.loads(run("experiments status fresher --json").stdout)
    lists = shown.pop("lists")
    assert [(one["feed"], one["arm"], one["there"]) for one in lists] == [
        ("global", "control", True),
        ("global", "fresher", True),
        ("mine", "control", True),
        ("mine", "fresher", False),
    ]
    assert [one.get("posts") for one in lists] == [2, 2, 2, None]
    assert lists[1]["state"] == "fresh" and lists[1]["version"] == lists[0]["version"]
    [change] = shown.pop("changes")
    assert (change["topic"], change["key"], change["feeds"]) == ("config", "weights/mine", ["mine"])
    [listed] = json.loads(run("experiments list --json").stdout)
    assert {**listed, "ran_ms": 0} == {**shown, "ran_ms": 0}
    assert before_ms <= shown["started_ms"] <= now_ms()
    assert {
        **{"name": "fresher", "running": True, "feeds": ["global", "mine"], "traffic": 1000},
        **{"arms": {"control": 5000, "fresher": 5000}, "by": "ann", "stopped_ms": None},
    }.items() <= shown.items()


def test_a_start_is_refused_whose_users_are_too_few_for_what_is_assumed(
    run: Run, folder: Path, topics: CommandTopics
) -> None:
    margins = {"reporters": 0.25, "actions": 0.05}
    written(folder, "sized", feeds=["global"], guardrails=margins)
    line = "experiments start sized.json --timeout 0 --effect 0.06 --assume take_rate=0.05:0.122"
    unknown = run(line)
    assert unknown.exit_code == 1
    assert "nothing says what reporters, actions is now" in unknown.stderr
    line += " --assume reporters=0.01 --assume actions=1:"
    few = run(f"{line}9")
    assert few.exit_code == 1
    assert "63,000 users an arm do not show a margin of 5.0% in actions" in few.stderr
    assert topics.read("config") == []
    enough = run(f"{line}2")
    assert (enough.exit_code, enough.stderr) == (0, "")
    # Who gives it more readers was told before.
    assert run("experiments start sized.json --timeout 0 --traffic 10000").stderr == ""


def test_the_instances_answer_and_a_missing_topic_is_named(
    run: Run, topics: CommandTopics, tmp_path: Path, stage: StartStage
) -> None:
    written(tmp_path, "fresher", feeds=["global"], guardrails={})
    line = f"experiments start {tmp_path / 'fresher.json'} --by ann"
    refused = run(line)
    assert refused.exit_code == 1 and "exposures`; create the topics" in refused.stderr
    assert topics.read("config") == []
    topics.make("exposures")
    stage("combiner/1")
    started = run(line)
    assert started.exit_code == 0
    assert "applied  combiner/1" in started.stdout
    assert "nothing says that 63,000 users an arm can show anything" in started.stderr
    assert "no guardrail" in started.stderr


def test_what_an_export_has_is_shown_too(
    run: Run, folder: Path, topics: CommandTopics, writer: WrittenRedis, golden: Golden
) -> None:
    topics.make("engagements", "signals.quality", "dead-letters")
    written(folder, "fresher", feeds=["global"])
    assert run("experiments start fresher.json --traffic 10000 --timeout 0").exit_code == 0
    write_lists(writer)
    shown = [run("experiments status fresher --data data")]
    assert run("experiments export --out data").exit_code == 0
    shown.append(run("experiments status fresher --data data"))
    exposure = {"experiment": "fresher", "feed": "global", "version": 1, "first": 0, "count": 9}
    arms = [("control", 5000), ("fresher", 5000)]
    for user in (f"user-{n}" for n in range(20)):
        arm = arm_of("s-1", "fresher", user, 10_000, arms)
        other = {"served": "control"} if arm == "fresher" else {}
        if user == "user-3":
            arm = "fresher" if arm == "control" else "control"
        topics.send(
            "exposures",
            user,
            {"user_id": user, "arm": arm, "at_ms": now_ms() - 1000, **exposure, **other},
        )
    topics.send("exposures", "bob", {"user_id": "bob"})
    shown.append(run("experiments status fresher --data data"))
    assert run("experiments export --out data").exit_code == 0
    shown.append(run("experiments status fresher --data data"))
    texts = [one.stdout.partition("\nexported")[2] or one.stderr.splitlines()[-1] for one in shown]
    golden.check("experiment_export.txt", re.sub(r"\b[0-9]+s ago", "<age> ago", "\n".join(texts)))
    found = json.loads(run("experiments status fresher --data data --json").stdout)["export"]
    assert (found["users"], sum(found["by_arm"].values()), found["rejected"]) == (20, 20, 1)
    assert found["waiting"] == 0
