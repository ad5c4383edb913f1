"""What a preview says of a feed is what Redis shows once the change is set."""

import json
import shlex
from functools import partial
from random import Random

import pytest

from builders.engine import Engine
from builders.engine_topics import post_of
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack

POSTS, SIZE = 1_500, 100  # the stored list has a reserve of 64
HOUR_MS = 3_600_000
CHANGES = (
    ("global", "alpha=0 beta=1"),
    ("global", "max_per_author=1 half_life_hours=1000"),
    ("global", "scale.beta=2 half_life_hours=null spam.hide_at=0.5 nsfw.demote_factor=0.1"),
    ("global", "costs.grumble=3"),
    ("community:one", "alpha=0.1 beta=1 max_per_author=null spam.hide_at=null"),
)


def write_posts(engine: Engine) -> None:
    """Posts of few authors, some of which gates hide or demote and moderators too."""
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
        engine.write_signals({post_id: offset}, **values)
        engine.signal("grumble", post_id, offset, random.random())
    override = {"verdict": "hide", "by": "mo", "reason": "", "at_ms": now}
    for number in range(0, POSTS, 50):
        engine.send("overrides", f"post:p{number}|*", override).get(30)


def shows(engine: Engine, feed: str, order: list[str]) -> bool:
    return engine.order(feed) == order


def test_a_feed_becomes_what_its_preview_said(start_engine: object) -> None:
    engine: Engine = start_engine("combiner", signals="grumble:cost")  # type: ignore[operator]  # a fixture's function
    write_posts(engine)
    until(lambda: len(engine.order()) == SIZE and len(engine.order("community:one")) > SIZE)
    for feed, words in CHANGES:
        stored = engine.order(feed)
        done = engine.feedmill(f"weights preview {feed} {words} --json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
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
                line = f"config set {key}/{feed} {shlex.join(each)}"
                assert engine.feedmill(line).returncode == 0
        order = [post["post_id"] for post in then]
        until(partial(shows, engine, feed, order))
        scores = [post["score"] for post in then]
        assert [score for _, score in engine.feed(feed)[0]] == pytest.approx(
            scores, abs=1e-9, rel=0
        )
    check_suggestion(engine)
    assert engine.complaints() == []


def check_suggestion(engine: Engine) -> None:
    """At the suggested scale engagement wins half of the pairs that quality orders otherwise."""
    wins = []
    for _ in range(2):
        done = engine.feedmill("weights suggest community:one --json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        [engagement] = (one for one in said["scales"] if one["objective"] == "engagement")
        wins.append(engagement["kinds"]["without engagements"]["wins_now"])
        assert engine.feedmill(said["command"].removeprefix("feedmill ")).returncode == 0
    assert wins[1] == pytest.approx(0.5, abs=0.02)
