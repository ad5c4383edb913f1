from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from feedmill.rankers.score import EPOCH_MS

pytestmark = pytest.mark.stack

Run = Callable[[str], Result]
Writer = Any

CREATED_MS = 1_700_000_000_000
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


def test_a_shown_post_adds_up_to_the_score_in_redis(run: Run, writer: Writer) -> None:
    writer.signals("p1", **GOOD)
    writer.feed("global", {"p1": SCORE, "p0": SCORE + 1})
    said = explained(run, "p1")
    assert (said["verdict"], said["agrees"]) == ("shown", True)
    assert said["score_in_redis"] == pytest.approx(SCORE, abs=1e-9)
    text = run("explain p1").stdout
    assert "p1 in global: shown" in text
    assert "rank 2 in version 1 of global, config offset 4" in text
    assert "equal within 1e-9" in text
    assert "0.875" in text


def test_a_score_that_differs_is_said(run: Run, writer: Writer) -> None:
    writer.signals("p1", **GOOD)
    writer.feed("global", {"p1": SCORE + 0.5})
    assert explained(run, "p1")["agrees"] is False
    assert "which differs by 0.5" in run("explain p1").stdout


def test_a_hidden_post_names_gate_value_and_threshold(run: Run, writer: Writer) -> None:
    writer.signals("p1", **{**GOOD, "spam": 0.97, "nsfw": 0.7}, decision="hide")
    writer.feed("global", {})
    said = explained(run, "p1")
    assert said["verdict"] == "hidden because spam 0.97 ≥ 0.9"
    assert (said["decision"], said["decided_by"]) == ("hide", "spam@spam-v1")
    assert said["score_in_redis"] is None


def test_a_rule_is_named_with_the_gate_it_decides_for(run: Run, writer: Writer) -> None:
    rule = {"value": 1.0, "model": "rule", "version": "bad-links", "post_offset": 7}
    writer.signals("p1", **{**GOOD, "spam": rule}, decision="hide")
    writer.feed("global", {})
    said = explained(run, "p1")
    assert said["verdict"] == "hidden because spam 1 by the rule `bad-links` ≥ 0.9"
    assert (said["decision"], said["decided_by"]) == ("hide", "rule:bad-links")
    assert "rule:bad-links" in run("explain p1").stdout


def test_a_demoted_post_shows_each_factor(run: Run, writer: Writer) -> None:
    writer.signals("p1", **{**GOOD, "spam": 0.7, "nsfw": 0.8}, decision="demote")
    writer.feed("global", {"p1": SCORE - 2})
    said = explained(run, "p1")
    assert said["verdict"] == "demoted because spam 0.7 ≥ 0.6; nsfw 0.8 ≥ 0.6"
    assert (said["factor"], said["agrees"]) == (0.25, True)


@pytest.mark.parametrize(
    ("nsfw", "why"),
    [
        (None, "nsfw failed: no memory"),
        ({"value": 0.1, "post_offset": 6}, "nsfw has not judged version 7, only version 6"),
        ("", "nsfw has not judged version 7"),
    ],
)
def test_a_held_post_names_whom_it_waits_for(run: Run, writer: Writer, nsfw: Any, why: str) -> None:
    if nsfw is None:
        nsfw = {"value": None, "error": "no memory"}
    writer.signals("p1", **{k: v for k, v in GOOD.items() if k != "nsfw"}, decision="hold")
    if nsfw:
        writer.signals("p1", nsfw=nsfw, decision="hold")
    writer.feed("global", {})
    said = explained(run, "p1")
    assert (said["verdict"], said["decision"]) == (f"held because {why}", "hold")


def test_a_gate_that_fails_open_holds_for_its_grace_only(run: Run, writer: Writer) -> None:
    gates = {name: {} for name in ("spam", "nsfw", "misinformation")}
    gates["spam"] = {"on_failure": "open", "grace_s": 60}
    without = {k: v for k, v in GOOD.items() if k != "spam"}
    writer.signals("old", **without)
    writer.signals("new", **without, created_ms=int(time.time() * 1000))
    writer.feed("global", {"old": SCORE}, gates=gates)
    assert explained(run, "old")["decision"] == "show"
    said = explained(run, "new")
    assert (
        said["verdict"]
        == "held because spam has not judged version 7 (shown without it after 60 s)"
    )


def override(subject: str, gate: str, verdict: str, by: str, **said: Any) -> dict[str, Any]:
    """An override as the field `override` shows it."""
    usual = {"reason": "", "at_ms": 5}
    return {"subject": subject, "gate": gate, "verdict": verdict, "by": by, **usual, **said}


def test_an_override_beats_the_gates(run: Run, writer: Writer) -> None:
    allow = override("post:p1", "spam", "allow", "ann", reason="satire", post_offset=7)
    writer.signals("p1", **{**GOOD, "spam": 0.97}, override=json.dumps(allow))
    writer.feed("global", {"p1": SCORE})
    said = explained(run, "p1")
    assert (said["decision"], said["decided_by"], said["agrees"]) == ("show", "override:ann", True)
    spam = next(gate for gate in said["gates"] if gate["name"] == "spam")
    assert spam["text"] == "the override of ann says allow (satire)"


@pytest.mark.parametrize("holds", [{"expires_at_ms": 6}, {"post_offset": 6}])
def test_an_override_that_ran_out_counts_no_more(
    run: Run, writer: Writer, holds: dict[str, int]
) -> None:
    allow = override("post:p1", "spam", "allow", "ann", **holds)
    writer.signals("p1", **{**GOOD, "spam": 0.97}, override=json.dumps(allow))
    writer.feed("global", {})
    assert explained(run, "p1")["decision"] == "hide"


def test_a_posts_own_override_beats_its_authors(run: Run, writer: Writer) -> None:
    hide = override("author:ann", "*", "hide", "ben")
    allow = override("post:p1", "*", "allow", "cid")
    writer.signals("p1", **GOOD, override=json.dumps({**hide, "others": [allow]}))
    writer.feed("global", {"p1": SCORE})
    assert explained(run, "p1")["decided_by"] == "override:cid"
    allow["gate"] = "spam"
    writer.signals("p1", **GOOD, override=json.dumps({**hide, "others": [allow]}))
    said = explained(run, "p1")
    assert said["verdict"] == "hidden because the override of ben says hide"


def test_a_demotion_by_star_applies_the_smallest_factor_once(run: Run, writer: Writer) -> None:
    demote = override("post:p1", "*", "demote", "ann")
    writer.signals("p1", **{**GOOD, "spam": 0.97}, override=json.dumps(demote))
    gates = {"spam": {"demote_factor": 0.25}, "nsfw": {}, "misinformation": {}}
    writer.feed("global", {"p1": SCORE - 2}, gates=gates)
    said = explained(run, "p1")
    assert (said["factor"], said["agrees"]) == (0.25, True)


def test_a_post_beyond_its_authors_limit_is_told_so(run: Run, writer: Writer) -> None:
    for i in range(3):
        writer.signals(f"better{i}", **GOOD)
    writer.signals("p1", **GOOD)
    writer.feed("global", {f"better{i}": SCORE + 1 + i for i in range(3)})
    said = explained(run, "p1")
    assert said["verdict"] == (
        "shown, but not in this feed: 3 better posts of author ann reach the limit of 3"
    )


def test_a_post_below_the_last_one_kept_is_told_so(run: Run, writer: Writer) -> None:
    writer.signals("p1", **GOOD)
    writer.feed("global", {"a": SCORE + 2, "b": SCORE + 1})
    assert "below that of all 2 posts kept" in explained(run, "p1")["verdict"]


def test_a_post_that_does_not_match_the_feed_is_told_so(run: Run, writer: Writer) -> None:
    writer.signals("p1", **GOOD)
    writer.feed("lang:en", {"a": 1.0})
    assert "does not match the feed" in explained(run, "p1 --feed lang:en")["verdict"]


def test_unknown_posts_and_feeds_are_said(run: Run, writer: Writer) -> None:
    result = run("explain p1")
    assert result.exit_code == 1
    assert "there is no feed `global`" in result.stderr
    writer.feed("global", {})
    result = run("explain p1")
    assert result.exit_code == 1
    assert "Redis knows no post `p1`" in result.stderr
