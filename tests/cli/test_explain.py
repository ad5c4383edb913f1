import json
import math
from typing import Any

import numpy as np
import pytest

from builders.commands import CommandTopics, Run
from builders.contract_score import BASES
from builders.events import override
from builders.golden import Golden
from builders.waiting import now_ms
from builders.written_redis import CREATED_MS, WrittenRedis
from feedmill.events.override import Override
from feedmill.events.partition import partition_of
from feedmill.rankers.score import EPOCH_MS

pytestmark = pytest.mark.stack


RECENCY = (CREATED_MS - EPOCH_MS) / (24 * 3_600_000)
GATES = {"spam": 0.1, "nsfw": 0.1, "misinformation": 0.1}
GOOD = {"quality": 0.5, "engagement": 0.125, "report": 0.0625, **GATES}
# What the reports cost, and hides, of which there is no record.
REPORTED = 18 * 0.0625 + 4 * float(np.float32(BASES["hide"]))
SCORE = math.log2(0.5 * 0.5 + 0.5 * 36 * 0.125) - REPORTED + RECENCY


def explained(run: Run, line: str) -> dict[str, Any]:
    result = run(f"explain {line} --json")
    assert result.exit_code == 0, result.output
    said: dict[str, Any] = json.loads(result.stdout)
    lost = sum(one["contribution"] for one in said["costs"])
    terms = said["log2_sum"] + said["log2_factor"] + lost + said["recency"]
    assert said["score"] == pytest.approx(terms, abs=1e-9)
    contributions = [one["contribution"] for one in said["objectives"]]
    assert said["sum"] == pytest.approx(sum(contributions), abs=1e-12)
    for one in said["objectives"]:
        product = one["weight"] * one["scale"] * (one["value"] or 0.0)
        assert one["contribution"] == pytest.approx(product)
    assert said["factor"] == pytest.approx(math.prod(gate["factor"] for gate in said["gates"]))
    return said


def test_a_shown_post_adds_up_to_the_score_in_redis(run: Run, writer: WrittenRedis) -> None:
    writer.set("weights", {"quality": 0.5, "engagement": 0.5})
    writer.signals("p1", GOOD)
    version = writer.feed("global", {"p1": SCORE, "p0": SCORE + 1})
    said = explained(run, "p1")
    assert (said["verdict"], said["agrees"], said["rank"]) == ("shown", True, 2)
    assert said["score_in_redis"] == pytest.approx(SCORE, abs=1e-9)
    text = run("explain p1").stdout
    assert "p1 in global: shown, at rank 2 of 2" in text
    assert f"rank 2 in version {version} of global, config offset 0" in text
    assert "equal within 1e-9" in text
    assert any(line.endswith(" 2.5") for line in text.splitlines())


def test_an_arm_explains_a_post_by_its_own_weights_and_gates(
    run: Run, writer: WrittenRedis
) -> None:
    strict = {"spam": {"hide_at": 0.3}}
    arms = [
        {"name": "a", "share": 3000},
        {"name": "b", "share": 3000, "weights": {"quality": 1}},
        {"name": "c", "share": 4000, "gates": strict},
    ]
    rest = {"feeds": ["global"], "salt": "s", "planned_n": 1000}
    writer.set("experiments/one", {"arms": arms, **rest})
    writer.signals("p1", {**GOOD, "spam": 0.4})
    score = math.log2(1 * 0.5 + 0.5 * 36 * 0.125) - REPORTED + RECENCY
    writer.feed("global", {"p1": SCORE}, arms={"one.b": {"p1": score}, "one.c": {}})
    said = explained(run, "p1 --arm b")
    assert (said["arm"], said["agrees"], said["rank"]) == ("one.b", True, 1)
    assert said["score_in_redis"] == pytest.approx(score, abs=1e-9)
    assert "p1 in global arm one.b: shown, at rank 1 of 1" in run("explain p1 --arm b").stdout
    assert "hidden because spam 0.4 ≥ 0.3" in run("explain p1 --arm c").stdout
    assert "arm" not in explained(run, "p1 --arm a")
    assert explained(run, "p1")["agrees"] is True


def test_a_score_that_differs_is_said(run: Run, writer: WrittenRedis) -> None:
    writer.signals("p1", GOOD)
    writer.feed("global", {"p1": SCORE + 0.5})
    assert explained(run, "p1")["agrees"] is False
    assert "which differs by 0.5" in run("explain p1").stdout


WITHOUT_SPAM = {name: value for name, value in GOOD.items() if name != "spam"}
ALLOWED = override("allow", by="ann", reason="satire", post_offset=7)
# By post its signals and overrides; `explained.txt` has what is said of each.
DECIDED: dict[str, tuple[dict[str, Any], dict[str, Override]]] = {
    "hidden": ({"spam": 0.97, "nsfw": 0.7}, {}),
    "by-a-rule": ({"spam": {"value": 1.0, "model": "rule", "version": "bad-links"}}, {}),
    "demoted": ({"spam": 0.7, "nsfw": 0.8}, {}),
    "failed": ({"nsfw": {"value": None, "error": "no memory"}}, {}),
    "edited": ({"nsfw": {"value": 0.1, "post_offset": 6}}, {}),
    "allowed": ({"spam": 0.97}, {"post:allowed|spam": ALLOWED}),
    "allowed-before": (
        {"spam": 0.97},
        {"post:allowed-before|spam": override("allow", post_offset=6)},
    ),
}


def test_the_verdict_names_gate_value_threshold_and_who_decided(
    run: Run, writer: WrittenRedis, golden: Golden
) -> None:
    for post_id, (signals, overrides) in DECIDED.items():
        writer.signals(post_id, {**GOOD, **signals}, overrides=overrides)
    writer.feed("global", {})
    lines = []
    for post_id in DECIDED:
        said = explained(run, post_id)
        lines += [f"## {post_id}", said["verdict"], f"{said['decision']} by {said['decided_by']}"]
        lines += [f"    {gate['name']}: {gate['text']}, {gate['factor']}" for gate in said["gates"]]
    golden.check("explained.txt", "\n".join(lines) + "\n")
    assert "rule:bad-links" in run("explain by-a-rule").stdout


def test_a_gate_that_fails_open_holds_for_its_grace_only(run: Run, writer: WrittenRedis) -> None:
    writer.set("gates", {"spam": {"on_failure": "open", "grace_s": 600}})
    writer.signals("old", WITHOUT_SPAM)
    writer.signals("new", WITHOUT_SPAM, created_ms=now_ms())
    writer.feed("global", {"old": SCORE})
    assert explained(run, "old")["decision"] == "show"
    assert explained(run, "new")["verdict"] == (
        "held because spam has not judged version 7 (shown without it after 600 s)"
    )


def test_a_post_beyond_its_authors_limit_is_told_so(run: Run, writer: WrittenRedis) -> None:
    for i in range(3):
        writer.signals(f"better{i}", GOOD)
    writer.signals("p1", GOOD)
    writer.feed("global", {f"better{i}": SCORE + 1 + i for i in range(3)})
    said = explained(run, "p1")
    assert said["verdict"] == (
        "shown, but not in this feed: 3 better posts of author ann reach the limit of 3"
    )


def test_unknown_posts_and_feeds_are_said(run: Run, writer: WrittenRedis) -> None:
    result = run("explain p1")
    assert result.exit_code == 1
    assert "there is no feed `global`" in result.stderr
    writer.feed("global", {})
    result = run("explain p1")
    assert result.exit_code == 1
    assert "Redis knows no post `p1`" in result.stderr
    assert (
        "no feed `globl` in Redis; did you mean `global`?" in run("explain p1 --feed globl").stderr
    )
    assert "; did you mean `global`? Or check the name" in run("feed globl").stderr


def test_an_unknown_post_is_looked_for_on_its_topic(
    run: Run, writer: WrittenRedis, topics: CommandTopics
) -> None:
    topics.make("config", posts=2)
    writer.feed("global", {})

    def send(post_id: str, partition: int | None = None, **said: Any) -> None:
        fields = {"post_id": post_id, "author_id": "ann", "created_at_ms": now_ms(), "text": "x"}
        value = None if said.get("text", "") is None else {**fields, **said}
        topics.send("posts", post_id, value, partition)

    send("new")
    send("gone")
    send("gone", text=None)
    send("old", created_at_ms=now_ms() - 200 * 3_600_000)
    send("seconds", created_at_ms=now_ms() // 1000)
    send("ahead", created_at_ms=now_ms() * 1000)
    send("misplaced", partition=1 - partition_of(b"misplaced", 2))
    for post_id, reason in {
        "never": "none of the last 400,000 records of `posts` has this key; was it sent",
        "gone": ", deletes it",
        "old": "when it came, older than the window of every feed, 168 hours at most",
        "seconds": "breaks the contract: Expected Unix time in milliseconds, from 2005-01-01",
        "ahead": "breaks the contract: Expected Unix time in milliseconds, at most a day after",
        "misplaced": "breaks the contract: Expected partition",
        "new": "is in order, but no worker has ranked it yet",
    }.items():
        result = run(f"explain {post_id}")
        assert result.exit_code == 1
        assert f"Redis knows no post `{post_id}`: " in result.stderr
        assert reason in result.stderr


def test_kafka_tells_what_redis_does_not_hold(
    run: Run, writer: WrittenRedis, topics: CommandTopics
) -> None:
    topics.make("config", **{"posts": 2, "signals.spam": 2})
    post = {"post_id": "p1", "author_id": "ann", "created_at_ms": CREATED_MS, "text": "x"}
    at_ms = now_ms()
    spam = {"post_id": "p1", "value": 0.97, "model": "spam", "version": "spam-v1", "at_ms": at_ms}
    copies = "copy of 12 posts by 11 authors within 10 minutes"
    offset = topics.send("posts", "p1", {**post, "communities": ["go"]})
    topics.send("signals.spam", "p1", {**spam, "post_offset": offset, "reason": copies})
    topics.send("config", "feeds/mine", {"value": {"match": {"communities": ["python"]}}})

    writer.signals("p1", GOOD, post_offset=offset)
    writer.feed("mine", {"a": 1.0})
    assert explained(run, "p1 --feed mine")["verdict"] == (
        "shown, but not in this feed: the feed takes the communities python, and the post has go"
    )
    hidden: dict[str, Any] = {**GOOD, "spam": {"value": 0.97, "at_ms": at_ms}}
    writer.signals("p1", hidden, post_offset=offset)
    assert explained(run, "p1 --feed mine")["verdict"] == (
        f"hidden because spam 0.97 \u2265 0.9 ({copies})"
    )
