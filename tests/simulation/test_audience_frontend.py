"""The lists that simulated users get, from a real Redis: those of the example of a frontend."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from builders.examples import load_example
from builders.shown_arms import run_experiment
from builders.waiting import now_ms
from builders.written_redis import WrittenRedis
from feedmill.events.decode import decode_exposure
from feedmill.events.engagement import Engagement
from feedmill.events.experiment import Exposure
from feedmill.simulation.audience import SLATE, Frontend
from feedmill.simulation.demo import open_demo
from feedmill.simulation.replay.sender import with_send_time
from feedmill.streams.redis.reader import FeedReader, open_feed_reader

pytestmark = pytest.mark.stack


def test_users_get_what_the_example_shows_them_with_the_same_exposures(
    writer: WrittenRedis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = load_example("frontend", monkeypatch)
    said: list[dict[str, object]] = []
    pages = example.Pages(writer.client, prefix, said.append)
    frontend = Frontend(FeedReader(writer.client, prefix), "global")
    assert frontend.page("viewer-1", 4) == ("global", (), None)
    run_experiment(writer, traffic=8_000)
    lists = set()
    for has_arm in (True, False):
        for user in (f"viewer-{n}" for n in range(50)):
            shown, page = frontend.page(user, 4), pages.page("global", 4, None, user)
            assert shown.post_ids == page.post_ids
            told = [] if shown.exposure is None else [msgspec.to_builtins(shown.exposure)]
            for one in (*told, *said):
                one["at_ms"] = 0
                one |= {name: one.get(name) for name in ("served", "client")}
            assert told == said
            lists.add((shown.post_ids[0], shown.exposure and shown.exposure.served))
            said.clear()
        if has_arm:
            of_arm = f"{prefix}feed:{{global}}:arm:e.upside-down"
            writer.client.delete(of_arm, f"{of_arm}:info")
    assert lists == {("p9", None), ("p0", None), ("p9", "control")}


def test_the_demo_answers_the_lists_and_says_first_who_asked_for_which(
    writer: WrittenRedis, prefix: str
) -> None:
    run_experiment(writer, posts={f"demo-r-{n}": float(n) for n in range(1, 21)})
    demo = open_demo(
        posts=200,
        rate=5.0,
        audience=200.0,
        run="r",
        rng=np.random.default_rng(0),
        frontend=Frontend(FeedReader(writer.client, prefix), "global"),
    )
    arm_of: dict[str, str] = {}
    firsts, kinds = Counter[tuple[str, str]](), Counter[str]()
    for scheduled in demo.events:
        assert scheduled is not None
        event = scheduled.event
        if isinstance(event, Exposure):
            record = with_send_time(event, now_ms())
            assert decode_exposure(record.key, record.value).user_id == event.user_id
            assert (event.feed, event.first, event.count) == ("global", 0, SLATE)
            assert arm_of.setdefault(event.user_id, event.arm) == event.arm
        elif isinstance(event, Engagement):
            kinds[event.kind] += 1
            assert event.feed == "global"
            assert event.user_id in arm_of, "an exposure comes first"
            if event.kind == "impression" and event.position == 0:
                firsts[arm_of[event.user_id], event.post_id] += 1
    assert firsts.keys() == {("control", "demo-r-20"), ("upside-down", "demo-r-1")}
    assert kinds["impression"] > kinds["click"] > 0
    assert kinds["click"] / kinds["impression"] < 0.06


def test_without_redis_users_see_nothing_and_the_demo_goes_on() -> None:
    reader = open_feed_reader("redis://127.0.0.1:1/0", "")
    frontend = Frontend(reader, "global")
    assert frontend.page("viewer-1", 4) == ("global", (), None)
    demo = open_demo(
        posts=3, rate=5.0, audience=10.0, run="r", rng=np.random.default_rng(0), frontend=frontend
    )
    assert [one.topic for one in demo.events if one is not None] == ["posts"] * 3
