"""`feedmill tune` on a worker's lists: half of the feeds, and the half-life that readers like."""

import json
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from builders.engine import Engine
from builders.engine_topics import post_of
from builders.exported_events import start_at
from builders.kafka_log import KafkaLog
from builders.waiting import now_ms, until
from feedmill.cli.main import main
from feedmill.experiments.assignment import arm_of
from feedmill.streams.environment import Environment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HOURS = (24, 1.5, 6, 96, 1000)
POSTS, TOP, USERS = 400, 12, 1_250


def feedmill(line: str) -> Any:
    """Run `feedmill … --json` in this process."""
    done = CliRunner().invoke(main, [*shlex.split(line), "--json"])
    assert done.exit_code == 0, done.output
    return [json.loads(one) for one in done.stdout.splitlines() if one][-1]


def write_posts(engine: Engine, communities: list[str]) -> dict[str, int]:
    """Posts of two days; returns when each was created."""
    random, now = Random(4), now_ms()
    posts = [
        post_of(
            f"p{number}",
            author_id=f"author-{number}",
            created_at_ms=now - random.randrange(48 * HOUR_MS),
            communities=[communities[number % len(communities)]],
        )
        for number in range(POSTS)
    ]
    for post_id, offset in engine.posts(posts).items():
        values = {"quality": random.random(), "engagement": random.random() / 10}
        for name, value in {**values, **dict.fromkeys(engine.gates, 0.01)}.items():
            engine.signal(name, post_id, offset, value)
    engine.producer.flush(30)
    return {post["post_id"]: post["created_at_ms"] for post in posts}


def has_order(engine: Engine, feed: str, order: list[str]) -> bool:
    return engine.order(feed) == order


def test_half_of_the_communities_get_the_list_of_their_preview_and_undo_takes_it_back(
    start_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = start_engine("combiner")
    engine.use_environment(monkeypatch)
    names = [f"c{number}" for number in range(6)]
    write_posts(engine, names)
    feeds = [f"community:{name}" for name in names]
    until(lambda: sum(len(engine.order(feed)) for feed in feeds) == POSTS, 90)
    swept = feedmill("tune preview community:c0 half_life_hours")
    assert [one["overlap"] for one in swept["settings"][:1]] == [1.0]
    arms = [
        {"name": "control", "share": 5000},
        {"name": "slow", "share": 5000, "weights": {"half_life_hours": 1000}},
    ]
    mix = {"arms": arms, "feeds": ["global"], "salt": "s", "planned_n": 9000}
    Path("mix.json").write_text(json.dumps(mix))
    before, expected = dict[str, list[str]](), dict[str, list[str]]()
    for feed in feeds:
        said = feedmill(f"weights preview {feed} half_life_hours=1000")["posts"]
        expected[feed] = [post["post_id"] for post in said if post["rank"] is not None]
        now = sorted((post["rank_now"], post["post_id"]) for post in said if post["rank_now"])
        before[feed] = [post_id for _, post_id in now]
        assert before[feed] != expected[feed]
    feedmill("tune half 'community:*' mix.json slow")
    keys = [one["key"] for one in feedmill("config get")]
    changed = {key.removeprefix("weights/") for key in keys if key.startswith("weights/c")}
    assert len(changed) == 3
    for feed in feeds:
        until(partial(has_order, engine, feed, (expected if feed in changed else before)[feed]), 30)
    feedmill("tune half 'community:*' mix.json slow --undo")
    assert not any(one["key"].startswith("weights/c") for one in feedmill("config get"))
    for feed in feeds:
        until(partial(has_order, engine, feed, before[feed]), 30)
    assert engine.complaints() == []


def read_for_four_weeks(
    engine: Engine, name: str, value: dict[str, Any], created_ms: dict[str, int], *, tired: bool
) -> None:
    """Have readers of every arm's list send what they see and like, dated over 29 days."""
    rng, now = np.random.default_rng(7), now_ms()
    shares = [(arm["name"], arm["share"]) for arm in value["arms"]]
    shown = {
        arm: feed_of(engine, "global" if not at else f"global --arm {arm}")
        for at, (arm, _) in enumerate(shares)
    }
    events: dict[str, list[tuple[bytes, bytes]]] = {"exposures": [], "engagements": []}

    def send(topic: str, key: str, **event: Any) -> None:
        events[topic].append((event[key].encode(), json.dumps(event).encode()))

    for number in range(USERS * len(shares)):
        user = f"{name}-{number}"
        arm = str(arm_of(value["salt"], name, user, 10_000, shares))
        at_ms = now - int(rng.uniform(0.2, 29.9) * DAY_MS)
        page = {"experiment": name, "arm": arm, "feed": "global", "version": 1, "first": 0}
        send("exposures", "user_id", user_id=user, **page, count=TOP, at_ms=at_ms)
        for post in shown[arm]:
            age_hours = (now - created_ms[post]) / HOUR_MS
            rate = 0.3 * ((0.4 + 0.6 * 2 ** (-age_hours / 3)) if tired else 1.0)
            seen = {"user_id": user, "post_id": post, "feed": "global"}
            send("engagements", "post_id", **seen, kind="impression", at_ms=at_ms + 1)
            if rng.random() < rate:
                send("engagements", "post_id", **seen, kind="like", at_ms=at_ms + 2)
    log = KafkaLog(Environment(kafka=engine.kafka, topic_prefix=engine.prefix), 2)
    for topic, records in events.items():
        log.produce(topic, records)


def feed_of(engine: Engine, words: str) -> list[str]:
    said = feedmill(f"feed {words} --top {TOP}")
    return [post["post_id"] for post in said["posts"]]


@pytest.mark.parametrize("tired", [True, False])
def test_the_best_half_life_is_found_where_readers_tire_and_none_where_they_do_not(
    start_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tired: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = start_engine("combiner")
    engine.use_environment(monkeypatch)
    created_ms = write_posts(engine, ["c"])
    until(lambda: len(engine.order()) == POSTS, 90)
    arms = [
        {"name": f"h{place}", "share": 2000, "weights": {"half_life_hours": hours} if place else {}}
        for place, hours in enumerate(HOURS)
    ]
    value = {
        **{"arms": arms, "feeds": ["global"], "salt": "s", "planned_n": 1_000},
        **{"window_hours": 1, "guardrails": {"actions": 0.3}},
    }
    Path("mix.json").write_text(json.dumps(value))
    feedmill("experiments start mix.json")
    until(lambda: "experiment" in engine.feed("global")[1], 30)
    read_for_four_weeks(engine, "mix", value, created_ms, tired=tired)
    feedmill("experiments export --out record")
    start_at(Path("record"), now_ms() - 31 * DAY_MS)
    files = "--record record.json --experiment ran.json"
    feedmill(f"experiments join record mix --out users.parquet {files}")
    found = feedmill(f"tune front users.parquet {files} --html front.html")
    assert found["recommended"] == ("h1" if tired else "h0"), found["conclusion"]
    assert ("--if-offset -1" in "".join(found["commands"])) == tired
    assert found["everybody"][0].startswith("global has 100% of the impressions of its posts")
