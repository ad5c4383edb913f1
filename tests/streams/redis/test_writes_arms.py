"""Arms in a real Redis, as a combiner ranks them and a writer writes them."""

import contextlib
import json
import random
from typing import Any

import pytest

from builders.events import NOW_MS, override
from builders.own_redis import OwnRedis, RedisClient
from builders.ranked_posts import HIDDEN, SHOWN, Posts
from builders.redis_writer import KEYS, PREFIX, SteppedWriter, everything, feed_of
from builders.waiting import in_background
from feedmill.events.errors import BadSetting
from feedmill.events.override import OverrideKey
from feedmill.rankers.combiner import arm_list
from feedmill.streams.redis.round_trip import FIRST_RETRY_S
from feedmill.streams.redis.write_batch import WriteReport

pytestmark = pytest.mark.stack

ARMS: list[dict[str, Any]] = [
    {"name": "a", "share": 2500},
    {"name": "again", "share": 2500, "control_copy": True},
    {"name": "b", "share": 2500, "weights": {"quality": 1, "half_life_hours": None}},
    {"name": "strict", "share": 2500, "gates": {"spam": {"hide_at": 0.5, "demote_at": 0.3}}},
]
ONE = {"arms": ARMS, "feeds": ["global"], "salt": "s", "planned_n": 1000, "traffic": 500}
NAMES = ["one.again", "one.b", "one.strict"]


class Engine(Posts):
    """A combiner of its own, and a writer under its token."""

    def __init__(self, url: str, token: int) -> None:
        super().__init__()
        self.writer = SteppedWriter(url)
        self._token = token

    def write(self) -> WriteReport:
        """Rank what changed, and write it."""
        changes = self.combiner.cycle(NOW_MS)
        more: Any = {
            "removed_feeds": changes.removed_feeds,
            "ended": self.combiner.settings_in_force.ended,
        }
        return self.writer.write(*changes.signals, *changes.feeds, token=self._token, **more)

    def start(self) -> None:
        self.set("experiments/one", ONE)

    def stop(self) -> None:
        self.set("experiments/one", {**ONE, "stopped": True})

    def close(self) -> None:
        self.writer.batch_writer.close()


@pytest.fixture
def engine(own_redis: OwnRedis) -> Any:
    made = with_posts(own_redis.url, 10)
    yield made
    made.close()


def with_posts(url: str, token: int) -> Engine:
    made = Engine(url, token)
    for i in range(40):
        made.add(f"p{i}", quality=i / 64, spam=i / 100)
    return made


def arms_of(client: RedisClient) -> dict[str, dict[str, float]]:
    """By `<experiment>.<arm>` what Redis has of its list."""
    start, infos = KEYS.feed("global", "x")[:-1], client.keys(f"{PREFIX}*:arm:*:info")
    names = [key.removeprefix(start).removesuffix(":info") for key in infos]
    lists = (client.zrange(KEYS.feed("global", name), 0, -1, withscores=True) for name in names)
    return {name: dict(found) for name, found in zip(names, lists, strict=True)}


def info_of(client: RedisClient, arm: str = "") -> dict[str, str]:
    found: dict[str, str] = client.hgetall(KEYS.info("global", arm))
    return found


def change(engine: Engine, drawn: random.Random) -> None:
    """Something becomes true of a post: one comes, changes, is hidden, or goes."""
    post_id = f"p{drawn.randrange(60)}"
    kind = drawn.choice(("add", "quality", "quality", "spam", "override", "delete"))
    if kind == "add" or post_id not in engine.offsets:
        engine.add(post_id, quality=drawn.random(), author_id=f"a{drawn.randrange(9)}")
    elif kind == "delete":
        engine.delete(post_id)
        del engine.offsets[post_id]
    elif kind == "override":
        key = OverrideKey("post", post_id, "*")
        verdict = drawn.choice((None, override("hide"), override("demote")))
        engine.combiner.view.update_override(key, verdict)
    else:
        engine.signal(kind, post_id, drawn.choice((SHOWN, 0.4, 0.7, HIDDEN)))


def test_a_control_and_its_copy_are_alike_at_250_versions_and_through_a_takeover(
    own_redis: OwnRedis, client: RedisClient, engine: Engine
) -> None:
    heir = with_posts(own_redis.url, 11)
    for one in (engine, heir):
        one.start()
    engine.write()
    mismatches, versions = [], set[str]()

    def look() -> None:
        with own_redis.client().pipeline(transaction=True) as pipe:
            for arm in ("", "one.again"):
                pipe.zrange(KEYS.feed("global", arm), 0, -1, withscores=True)
                pipe.hgetall(KEYS.info("global", arm))
            control, info, copy, info_of_copy = pipe.execute()
        named = json.loads(info.pop("experiment"))["name"]
        versions.add(info["version"])
        if (control, info, named) != (copy, info_of_copy, "one"):
            mismatches.append((info, info_of_copy))

    def look_often(stop: Any) -> None:
        while not stop.is_set():
            look()

    with in_background(look_often):
        number = 0
        while len(versions) < 250:
            number += 1
            owner = engine if len(versions) < 125 else heir
            for one in (engine, heir):  # both read what comes
                change(one, random.Random(number))
            assert not owner.write().refused_feeds
            look()
        engine.set("weights", {"quality": 1, "engagement": 0})
        assert engine.write().refused_feeds == {"global"}
    heir.close()
    assert mismatches == []
    assert feed_of(client) != arms_of(client)["one.b"]


def test_an_arm_has_an_info_of_its_own(client: RedisClient, engine: Engine) -> None:
    engine.start()
    engine.write()
    info, own = info_of(client), info_of(client, "one.b")
    shares = [{"name": arm["name"], "share": 2500} for arm in ARMS]
    said = {"name": "one", "salt": "s", "traffic": 500, "arms": shares}
    assert json.loads(info.pop("experiment")) == said
    differ = {name for name in info if info[name] != own[name]}
    assert (info.keys(), differ) == (own.keys(), {"weights"})
    weights = json.loads(own["weights"])
    assert (weights["quality"], weights["engagement"], weights["half_life_hours"]) == (1, 0.5, None)
    engine.set("experiments/one", {**ONE, "traffic": 10_000})
    engine.write()
    assert json.loads(info_of(client)["experiment"])["traffic"] == 10_000


def test_start_and_stop_change_no_other_feed_and_leave_no_key(
    client: RedisClient, engine: Engine
) -> None:
    engine.set("feeds/mine", {})
    engine.write()

    def others() -> dict[str, object]:
        found = everything(client)
        return {key: value for key, value in found.items() if "{global}" not in key}

    before, members = others(), feed_of(client)
    engine.start()
    engine.write()
    assert sorted(arms_of(client)) == NAMES
    assert (others(), feed_of(client)) == (before, members)
    engine.stop()
    engine.write()
    assert (others(), feed_of(client)) == (before, members)
    keys = [key for key in everything(client) if "{global}" in key]
    assert sorted(keys) == [KEYS.feed("global"), KEYS.info("global")]
    assert "experiment" not in info_of(client)


@pytest.mark.parametrize("then", ["", "two", "one"])
def test_an_owner_whose_settings_were_made_anew_removes_the_arms_that_were_there(
    own_redis: OwnRedis, client: RedisClient, engine: Engine, then: str
) -> None:
    engine.start()
    engine.write()
    heir = with_posts(own_redis.url, 11)
    if then:
        heir.set(f"experiments/{then}", {**ONE, "arms": [{**ARMS[0], "share": 7500}, ARMS[2]]})
    heir.write()
    assert [*arms_of(client)] == ([f"{then}.b"] if then else [])
    assert len(client.keys(f"{PREFIX}*:arm:*")) == (2 if then else 0)
    heir.close()


def test_names_with_dots_never_share_a_list(client: RedisClient, engine: Engine) -> None:
    """The end of `rank` and its arm `v2.b` would remove the list of `rank.v2` and its arm `b`."""
    steps = (("rank", "v2.b", False), ("rank", "v2.b", True), ("rank.v2", "b", False))
    for name, arm, stopped in steps:
        arms = [{**ARMS[0], "share": 7500}, {**ARMS[2], "name": arm}]
        with contextlib.suppress(BadSetting):
            engine.set(f"experiments/{name}", {**ONE, "arms": arms, "stopped": stopped})
        engine.write()
    assert [*arms_of(client)] == ["rank.v2.b"]
    assert arms_of(client)["rank.v2.b"]


def test_of_a_feed_the_newest_ended_arms_are_remembered(engine: Engine) -> None:
    """They are in every whole write of the feed."""
    arms = [{**ARMS[0], "share": 7500}, ARMS[2]]
    for n in range(150):
        for stopped in (False, True):
            engine.set(f"experiments/e{n}", {**ONE, "arms": arms, "stopped": stopped})
    ended = engine.combiner.settings.ended["global"]
    assert ended == tuple(f"e{n}.b" for n in range(50, 150))


def test_without_memory_what_is_hidden_leaves_every_list_and_equal_arms_stay_equal(
    client: RedisClient, engine: Engine
) -> None:
    engine.start()
    engine.write()
    client.config_set("maxmemory", 1)
    for number in range(5):
        # The control has nothing that leaves, or something; an arm has.
        engine.signal("spam" if number % 2 else "nsfw", f"p{number}", 0.6 if number % 2 else HIDDEN)
        for name in (f"new{number}", f"newer{number}"):
            engine.add(name, quality=0.9)
        report = engine.write()
        assert "global" not in report.written_feeds
        lists = arms_of(client)
        assert feed_of(client) == lists["one.again"]
        assert f"p{number}" not in lists["one.strict"]
        assert (f"p{number}" in feed_of(client)) == bool(number % 2)
        assert not any(f"new{number}" in one for one in (feed_of(client), *lists.values()))
        sizes = {name: int(info_of(client, name)["size"]) for name in lists}
        assert sizes == {name: len(members) for name, members in lists.items()}
    client.config_set("maxmemory", 0)
    assert engine.writer.tend_after(FIRST_RETRY_S * 100).rewrite_feeds == {"global"}
    engine.combiner.rewrite(["global"])
    assert "global" in engine.write().written_feeds
    assert {f"new{number}" for number in range(5)} <= feed_of(client).keys()


def test_an_experiment_that_begins_without_memory_is_named_when_its_arms_are_there(
    client: RedisClient, engine: Engine
) -> None:
    engine.write()
    client.config_set("maxmemory", 1)
    engine.start()
    engine.write()
    assert "experiment" not in info_of(client)
    assert arms_of(client) == {}
    client.config_set("maxmemory", 0)
    engine.combiner.rewrite(["global"])
    engine.write()
    assert "experiment" in info_of(client)
    assert sorted(arms_of(client)) == NAMES


def test_an_arm_is_fresh_by_what_it_depends_on(client: RedisClient, engine: Engine) -> None:
    engine.start()
    changes, at_ms = engine.combiner.cycle(NOW_MS), NOW_MS + 1_000
    fresh = {"global", arm_list("global", "one.b")}
    engine.writer.write(*changes.feeds, at_ms=at_ms, fresh_feeds=fresh)
    until = {arm: int(info_of(client, arm)["fresh_until_ms"]) for arm in ("", *NAMES)}
    assert until == {
        "": at_ms + 15_000,
        "one.b": at_ms + 15_000,
        "one.again": at_ms,
        "one.strict": at_ms,
    }
