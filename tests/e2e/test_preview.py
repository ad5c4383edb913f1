"""What a preview says of a feed is what Redis shows once the change is set."""

import json
import shlex
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from builders.engine import Engine
from builders.engine_topics import post_of
from builders.waiting import now_ms, until
from feedmill.cli.main import main

pytestmark = pytest.mark.stack

POSTS, SIZE = 800, 100  # the stored list has a reserve of 64
HOUR_MS = 3_600_000
CHANGES = (
    ("global", "alpha=0 beta=1 max_per_author=1 half_life_hours=1000"),
    ("global", "scale.beta=2 half_life_hours=null spam.hide_at=0.5 nsfw.demote_factor=0.1"),
    ("global", "max_per_author=null costs.grumble=3"),
    ("community:one", "alpha=0.1 beta=1 max_per_author=null spam.hide_at=null"),
)


def write_posts(engine: Engine) -> list[str]:
    """Posts of few authors, some of which gates hide or demote and moderators too.

    Returns those that are well within the window of seven days.
    """
    random, now = Random(4), now_ms()
    engine.set("feeds/global", {"size": SIZE})
    posts = [
        post_of(
            f"p{number}",
            author_id=f"author-{random.randrange(60)}",
            created_at_ms=now - random.randrange(200 * HOUR_MS),  # some out of the window
            communities=[random.choice(("one", "two"))],
        )
        for number in range(POSTS)
    ]
    for post_id, offset in engine.posts(posts).items():
        values = {"quality": random.random(), "engagement": random.random() / 10}
        values |= {gate: random.random() ** 3 for gate in engine.gates}
        for name, value in {**values, "grumble": random.random()}.items():
            engine.signal(name, post_id, offset, value)
    override = {"verdict": "hide", "by": "mo", "reason": "", "at_ms": now}
    for number in range(0, POSTS, 50):
        engine.send("overrides", f"post:p{number}|*", override)
    engine.producer.flush(30)
    return [p["post_id"] for p in posts if p["created_at_ms"] > now - 167 * HOUR_MS]


def all_decided(engine: Engine, post_ids: list[str]) -> bool:
    truths = engine.truths(post_ids)
    return all("decision" in truths.get(post_id, {}) for post_id in post_ids)


def shows(engine: Engine, feed: str, order: list[str]) -> bool:
    return engine.order(feed) == order


def feedmill(line: str) -> Any:
    """Run `feedmill …` in this process; return its JSON."""
    done = CliRunner().invoke(main, [*shlex.split(line), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_feed_becomes_what_its_preview_said(
    start_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine("combiner", signals="grumble:cost")
    engine.use_environment(monkeypatch)
    until(partial(all_decided, engine, write_posts(engine)), 90)
    assert len(engine.order()) == SIZE and len(engine.order("community:one")) > SIZE
    for feed, words in CHANGES:
        stored = engine.order(feed)
        said = feedmill(f"weights preview {feed} {words}")
        ranks_now = [post["rank_now"] for post in said["posts"] if post["rank_now"] is not None]
        assert len(ranks_now) == len(stored)
        then = [post for post in said["posts"] if post["rank"] is not None]
        assert {post["post_id"] for post in then} - {*stored} == {*said["entering"]}
        assert said["entering"], words
        # Nothing was set by that; the words are those of `config set`.
        assert engine.order(feed) == stored
        pairs = shlex.split(words)
        of_gates = [pair for pair in pairs if pair.partition(".")[0] in engine.gates]
        of_weights = [pair for pair in pairs if pair not in of_gates]
        for key, each in (("weights", of_weights), ("gates", of_gates)):
            if each:
                feedmill(f"config set {key}/{feed} {shlex.join(each)}")
        order = [post["post_id"] for post in then]
        until(partial(shows, engine, feed, order))
        scores = [post["score"] for post in then]
        assert [score for _, score in engine.feed(feed)[0]] == pytest.approx(
            scores, abs=1e-9, rel=0
        )
    check_suggestion()
    assert engine.complaints() == []


def check_suggestion() -> None:
    """At the suggested scale engagement wins half of the pairs that quality orders otherwise."""
    wins = []
    for _ in range(2):
        said = feedmill("weights suggest community:one")
        [engagement] = (one for one in said["scales"] if one["objective"] == "engagement")
        wins.append(engagement["kinds"]["without engagements"]["wins_now"])
        feedmill(said["command"].removeprefix("feedmill "))
    assert wins[1] == pytest.approx(0.5, abs=0.02)
