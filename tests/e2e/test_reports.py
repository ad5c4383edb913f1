"""Readers report a post: it sinks, and `feedmill explain` says by how much."""

import json
from typing import Any

import numpy as np
import pytest

from builders.engine import WORKER, Engine
from builders.engine_topics import post_of
from builders.waiting import now_ms, until
from feedmill.simulation.post_writer import PostWriter

pytestmark = pytest.mark.stack

FEED = "community:cycling"
POSTS, READERS, REPORTS = 15, 300, 30


def react(engine: Engine, kind: str, post_id: str, users: int) -> None:
    for user in range(users):
        value = {"post_id": post_id, "user_id": f"u{user}", "kind": kind, "at_ms": now_ms()}
        engine.send("engagements", post_id, value)


def term(engine: Engine, post_id: str) -> dict[str, Any]:
    """What `feedmill explain` says of a post, its score beside what it says of reports."""
    said = json.loads(engine.feedmill(f"explain {post_id} --feed {FEED} --json").stdout)
    assert said["agrees"]
    (report,) = (one for one in said["costs"] if one["name"] == "report")
    return {**report, "score": said["score"], "rank": said["rank"]}


def test_honest_reports_of_a_tenth_of_the_readers_sink_a_post(start_engine: Any) -> None:
    engine: Engine = start_engine(WORKER)
    writer, random = PostWriter(np.random.default_rng(3)), np.random.default_rng(4)
    texts = [writer.ordinary("cycling", "en", float(random.beta(2, 2))) for _ in range(POSTS)]
    posts = [
        post_of(f"p{i}", text, author_id=f"a{i}", communities=["cycling"])
        for i, text in enumerate(texts)
    ]
    engine.posts(posts)
    for one in posts:
        react(engine, "impression", one["post_id"], READERS)
    engine.producer.flush()
    until(lambda: len(engine.order(FEED)) == POSTS)
    until(lambda: sum(counts[0] for counts in engine.last_counts().values()) == POSTS * READERS)
    until(lambda: engine.is_right(FEED))
    best = engine.order(FEED)[0]
    before = term(engine, best)
    react(engine, "report", best, REPORTS)
    engine.producer.flush()
    until(lambda: engine.order(FEED).index(best) > POSTS // 2)
    until(lambda: engine.last_counts()[best][-1] == REPORTS)
    until(lambda: engine.is_right(FEED))
    after = term(engine, best)
    assert after["rank"] > POSTS // 2 + 1
    # A tenth of the readers, less what the base is worth: more than a doubling.
    assert 0.05 < after["value"] < 0.1
    assert after["contribution"] == pytest.approx(-after["cost"] * after["value"])
    lost = after["contribution"] - before["contribution"]
    assert lost < -0.9
    assert after["score"] - before["score"] == pytest.approx(lost, abs=0.01)
    assert engine.complaints() == []
