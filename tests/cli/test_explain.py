from __future__ import annotations

import json
import math
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from builders.commands import Run
from builders.events import override
from builders.waiting import now_ms, until
from builders.written_redis import CREATED_MS, WrittenRedis
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import encode
from feedmill.events.partition import partition_of
from feedmill.rankers.score import EPOCH_MS

pytestmark = pytest.mark.stack


RECENCY = (CREATED_MS - EPOCH_MS) / (24 * 3_600_000)
GOOD = {"quality": 0.5, "engagement": 0.125, "spam": 0.1, "nsfw": 0.1, "misinformation": 0.1}
SCORE = math.log2(0.5 * 0.5 + 0.5 * 10 * 0.125) + RECENCY


def explained(run: Run, line: str) -> dict[str, Any]:
    result = run(f"explain {line} --json")
    assert result.exit_code == 0, result.output
    said: dict[str, Any] = json.loads(result.stdout)
    terms = said["log2_sum"] + said["log2_factor"] + said["recency"]
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
    assert "0.875" in text


def test_a_score_that_differs_is_said(run: Run, writer: WrittenRedis) -> None:
    writer.signals("p1", GOOD)
    writer.feed("global", {"p1": SCORE + 0.5})
    assert explained(run, "p1")["agrees"] is False
    assert "which differs by 0.5" in run("explain p1").stdout


def test_a_hidden_post_names_gate_value_and_threshold(run: Run, writer: WrittenRedis) -> None:
    writer.signals("p1", {**GOOD, "spam": 0.97, "nsfw": 0.7})
    writer.feed("global", {})
    said = explained(run, "p1")
    assert said["verdict"] == "hidden because spam 0.97 ≥ 0.9"
    assert (said["decision"], said["decided_by"]) == ("hide", "spam@spam-v1")
    assert said["score_in_redis"] is None


def test_a_rule_is_named_with_the_gate_it_decides_for(run: Run, writer: WrittenRedis) -> None:
    rule = {"value": 1.0, "model": "rule", "version": "bad-links"}
    writer.signals("p1", {**GOOD, "spam": rule})
    writer.feed("global", {})
    said = explained(run, "p1")
    assert said["verdict"] == "hidden because spam 1 by the rule `bad-links` ≥ 0.9"
    assert (said["decision"], said["decided_by"]) == ("hide", "rule:bad-links")
    assert "rule:bad-links" in run("explain p1").stdout


def test_a_demoted_post_shows_each_factor(run: Run, writer: WrittenRedis) -> None:
    writer.signals("p1", {**GOOD, "spam": 0.7, "nsfw": 0.8})
    writer.feed("global", {"p1": SCORE - 2})
    said = explained(run, "p1")
    assert said["verdict"] == "demoted because spam 0.7 ≥ 0.6; nsfw 0.8 ≥ 0.6"
    assert (said["factor"], said["agrees"]) == (0.25, True)


@pytest.mark.parametrize(
    ("nsfw", "why"),
    [
        ({"value": None, "error": "no memory"}, "nsfw failed: no memory"),
        ({"value": 0.1, "post_offset": 6}, "nsfw has not judged version 7, only version 6"),
        (None, "nsfw has not judged version 7"),
    ],
)
def test_a_held_post_names_whom_it_waits_for(
    run: Run, writer: WrittenRedis, nsfw: dict[str, Any] | None, why: str
) -> None:
    signals: dict[str, Any] = {**GOOD, "nsfw": nsfw}
    if nsfw is None:
        del signals["nsfw"]
    writer.signals("p1", signals)
    writer.feed("global", {})
    said = explained(run, "p1")
    assert (said["verdict"], said["decision"]) == (f"held because {why}", "hold")


def test_a_gate_that_fails_open_holds_for_its_grace_only(run: Run, writer: WrittenRedis) -> None:
    writer.set("gates", {"spam": {"on_failure": "open", "grace_s": 60}})
    without = {k: v for k, v in GOOD.items() if k != "spam"}
    writer.signals("old", without)
    writer.signals("new", without, created_ms=now_ms())
    writer.feed("global", {"old": SCORE})
    assert explained(run, "old")["decision"] == "show"
    said = explained(run, "new")
    assert (
        said["verdict"]
        == "held because spam has not judged version 7 (shown without it after 60 s)"
    )


def test_an_override_beats_the_gates(run: Run, writer: WrittenRedis) -> None:
    allow = override("allow", by="ann", reason="satire", post_offset=7)
    writer.signals("p1", {**GOOD, "spam": 0.97}, overrides={"post:p1|spam": allow})
    writer.feed("global", {"p1": SCORE})
    said = explained(run, "p1")
    assert (said["decision"], said["decided_by"], said["agrees"]) == ("show", "override:ann", True)
    spam = next(gate for gate in said["gates"] if gate["name"] == "spam")
    assert spam["text"] == "the override of ann says allow (satire)"


def test_an_override_that_ran_out_counts_no_more(run: Run, writer: WrittenRedis) -> None:
    written_ms = now_ms() - 60_000
    allow = override("allow", at_ms=written_ms, expires_at_ms=written_ms + 30_000)
    signals = {**GOOD, "spam": 0.97}
    writer.signals("p1", signals, overrides={"post:p1|spam": allow}, at_ms=written_ms)
    writer.feed("global", {})
    assert explained(run, "p1")["decision"] == "hide"


def test_an_approval_of_another_version_counts_no_more(run: Run, writer: WrittenRedis) -> None:
    allow = override("allow", post_offset=6)
    writer.signals("p1", {**GOOD, "spam": 0.97}, overrides={"post:p1|spam": allow})
    writer.feed("global", {})
    assert explained(run, "p1")["decision"] == "hide"


def test_a_posts_own_override_beats_its_authors(run: Run, writer: WrittenRedis) -> None:
    hide, allow = override("hide", by="ben"), override("allow", by="cid")
    writer.signals("p1", GOOD, overrides={"author:ann|*": hide, "post:p1|*": allow})
    writer.feed("global", {"p1": SCORE})
    assert explained(run, "p1")["decided_by"] == "override:cid"
    writer.signals("p1", GOOD, overrides={"author:ann|*": hide, "post:p1|spam": allow})
    said = explained(run, "p1")
    assert said["verdict"] == "hidden because the override of ben says hide"


def test_a_demotion_by_star_applies_the_smallest_factor_once(
    run: Run, writer: WrittenRedis
) -> None:
    writer.set("gates", {"spam": {"demote_factor": 0.25}})
    overrides = {"post:p1|*": override("demote")}
    writer.signals("p1", {**GOOD, "spam": 0.97}, overrides=overrides)
    writer.feed("global", {"p1": SCORE - 2})
    said = explained(run, "p1")
    assert (said["factor"], said["agrees"]) == (0.25, True)


def test_a_post_beyond_its_authors_limit_is_told_so(run: Run, writer: WrittenRedis) -> None:
    for i in range(3):
        writer.signals(f"better{i}", GOOD)
    writer.signals("p1", GOOD)
    writer.feed("global", {f"better{i}": SCORE + 1 + i for i in range(3)})
    said = explained(run, "p1")
    assert said["verdict"] == (
        "shown, but not in this feed: 3 better posts of author ann reach the limit of 3"
    )


def test_a_post_below_the_last_one_kept_is_told_so(run: Run, writer: WrittenRedis) -> None:
    writer.signals("p1", GOOD)
    writer.feed("global", {"a": SCORE + 2, "b": SCORE + 1})
    assert "that of the last of 2 posts, or" in explained(run, "p1")["verdict"]


def test_a_post_that_does_not_match_the_feed_is_told_so(run: Run, writer: WrittenRedis) -> None:
    writer.signals("p1", GOOD)
    writer.feed("lang:en", {"a": 1.0})
    assert "does not match the feed" in explained(run, "p1 --feed lang:en")["verdict"]


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
    run: Run, writer: WrittenRedis, stack: StackAddress, prefix: str
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    admin.create_topics([NewTopic(f"{prefix}posts", 2, 1), NewTopic(f"{prefix}config", 1, 1)])
    until(lambda: f"{prefix}posts" in admin.list_topics())
    admin.close()
    writer.feed("global", {})
    producer = KafkaProducer(bootstrap_servers=stack.kafka)

    def send(post_id: str, partition: int | None = None, **said: Any) -> None:
        fields = {"post_id": post_id, "author_id": "ann", "created_at_ms": now_ms(), "text": "x"}
        value = None if said.get("text", "") is None else encode({**fields, **said})
        to = {} if partition is None else {"partition": partition}
        producer.send(f"{prefix}posts", value, post_id.encode(), **to).get(20)

    send("new")
    send("gone")
    send("gone", text=None)
    send("old", created_at_ms=now_ms() - 200 * 3_600_000)
    send("seconds", created_at_ms=now_ms() // 1000)
    send("ahead", created_at_ms=now_ms() * 1000)
    send("misplaced", partition=1 - partition_of(b"misplaced", 2))
    producer.close()
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
    run: Run, writer: WrittenRedis, stack: StackAddress, prefix: str
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    names = ("posts", "config", "signals.spam")
    admin.create_topics([NewTopic(f"{prefix}{name}", 2, 1) for name in names])
    until(lambda: {f"{prefix}{name}" for name in names} <= set(admin.list_topics()))
    admin.close()
    producer = KafkaProducer(bootstrap_servers=stack.kafka)
    post = {"post_id": "p1", "author_id": "ann", "created_at_ms": CREATED_MS, "text": "x"}
    at_ms = now_ms()
    spam = {"post_id": "p1", "value": 0.97, "model": "spam", "version": "spam-v1", "at_ms": at_ms}
    copies = "copy of 12 posts by 11 authors within 10 minutes"
    sent = producer.send(f"{prefix}posts", encode({**post, "communities": ["go"]}), b"p1").get(20)
    signal = {**spam, "post_offset": sent.offset, "reason": copies}
    producer.send(f"{prefix}signals.spam", encode(signal), b"p1").get(20)
    mine = {"value": {"match": {"communities": ["python"]}}}
    producer.send(f"{prefix}config", encode(mine), b"feeds/mine", partition=0).get(20)
    producer.close()

    writer.signals("p1", GOOD, post_offset=sent.offset)
    writer.feed("mine", {"a": 1.0})
    assert explained(run, "p1 --feed mine")["verdict"] == (
        "shown, but not in this feed: the feed takes the communities python, and the post has go"
    )
    hidden: dict[str, Any] = {**GOOD, "spam": {"value": 0.97, "at_ms": at_ms}}
    writer.signals("p1", hidden, post_offset=sent.offset)
    assert explained(run, "p1 --feed mine")["verdict"] == (
        f"hidden because spam 0.97 \u2265 0.9 ({copies})"
    )
