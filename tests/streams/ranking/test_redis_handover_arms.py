"""Two owners of a feed under an experiment: what Redis has of each arm, whatever came between."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from builders.events import post, settings_of, signal
from builders.own_redis import OwnRedis, RedisClient
from builders.ranking_owner import KEYS, NAMES, NOW_MS, Owner, settle_all, tokens
from feedmill.events.post import Deletion
from feedmill.rankers.combiner import Combiner

pytestmark = pytest.mark.stack

ARMS: list[dict[str, Any]] = [
    {"name": "a", "share": 2500},
    {"name": "again", "share": 2500, "control_copy": True},
    {"name": "b", "share": 2500, "weights": {"half_life_hours": None}},
    {"name": "strict", "share": 2500, "gates": {"spam": {"hide_at": 0.5, "demote_at": 0.3}}},
]
VALUE = {"arms": ARMS, "feeds": ["global"], "salt": "s", "planned_n": 1000}
Record = Callable[[Combiner], object]


class Duel:
    """Two owners that read the same, each at its own pace, and take a feed from each other."""

    def __init__(self, url: str, client: RedisClient, random: Random) -> None:
        self.owners = Owner(url, None), Owner(url, None)
        self.holder = self.owners[0]
        self._client, self._random = client, random
        self._records: list[Record] = []
        self._read = dict.fromkeys(self.owners, 0)
        self._settings = self.owners[0].combiner.settings
        self._token = 10

    # --- what both read -----------------------------------------------------------------------

    def post(self) -> None:
        post_id, spam = f"p{self._random.randrange(60)}", self._random.choice((0.1, 0.4, 0.95))
        age_ms, offset = self._random.randrange(3_600_000), len(self._records)
        one = post(post_id, author_id=post_id, created_at_ms=NOW_MS - age_ms)

        def put(combiner: Combiner) -> None:
            combiner.view.update_post(one, offset, NOW_MS)
            for name in NAMES.all:
                value = spam if name == "spam" else 0.1
                combiner.view.update_signal(name, signal(post_id, offset, value))

        self._records.append(put)

    def delete(self) -> None:
        gone, offset = Deletion(f"p{self._random.randrange(60)}", deleted=True), len(self._records)
        self._records.append(lambda combiner: combiner.view.update_post(gone, offset, NOW_MS))

    def setting(self) -> None:
        """An experiment begins or ends, or the weights of all arms are others."""
        running = self._settings.running.get("global")
        key: str = "weights"
        value: dict[str, Any] = {"quality": self._random.random(), "engagement": 1}
        if running is None:
            key, value = f"experiments/e{len(self._records)}", VALUE
        elif self._random.random() < 0.5:
            key, value = f"experiments/{running.name}", {**VALUE, "stopped": True}
        settings = self._settings = settings_of((key, value), before=self._settings)
        self._records.append(lambda combiner: combiner.apply(settings))

    # --- what the owners do -------------------------------------------------------------------

    def part(self) -> None:
        """One reads a few records, ranks a slice, and writes one."""
        owner = self._random.choice(self.owners)
        self._follow(owner, self._random.randrange(9))
        for _ in range(self._random.randrange(5)):
            owner.combiner.work(NOW_MS, lambda: False)
        owner.handover.read_report()
        owner.handover.write(lambda: False, caught_up=self._random.random() < 0.7)
        if self._random.random() < 0.7:
            owner.handover.begin_writing()

    def move(self) -> None:
        """The feed goes to the other one, or goes and comes back; who had it may hear it late."""
        before, self.holder = self.holder, self._random.choice(self.owners)
        if before is self.holder or self._random.random() < 0.7:
            before.handover.set_tokens({})
        self._token += 1
        self.holder.handover.set_tokens(tokens(self._token))

    def lose(self) -> None:
        """Somebody removes a key of the feed or of an arm, or all; or Redis has no memory."""
        found = [key for key in self._client.keys("feed:*") if "global" in key]
        kind = self._random.choice(("key", "key", "all", "full", "free", "free"))
        if kind == "key" and found:
            self._client.delete(self._random.choice(found))
        elif kind == "all":
            self._client.flushall()
        elif kind in ("full", "free"):
            self._client.config_set("maxmemory", int(kind == "full"))

    def settle(self) -> None:
        """Have all read and written, by one of them."""
        self._client.config_set("maxmemory", 0)
        self.move()
        for owner in self.owners:
            self._follow(owner, len(self._records))
            if owner is not self.holder:
                owner.handover.set_tokens({})
        settle_all(self.holder)

    def _follow(self, owner: Owner, most: int) -> None:
        start = self._read[owner]
        self._read[owner] = end = min(len(self._records), start + most)
        for record in self._records[start:end]:
            record(owner.combiner)

    # --- what is there ------------------------------------------------------------------------

    def expected(self) -> dict[str, dict[str, float]]:
        """By arm, "" for the control, what one that read all and never moved would write."""
        combiner = Combiner(NAMES)
        for record in self._records:
            record(combiner)
        (change,) = (one for one in combiner.cycle(NOW_MS).feeds if one.feed == "global")
        return {one.feed if one is not change else "": dict(one.entries) for one in change.lists}

    def found(self) -> dict[str, dict[str, float]]:
        """By arm what Redis has, of those that the control names, or that have any key."""
        start, info = KEYS.feed("global"), self._client.hgetall(KEYS.info("global"))
        arms = {key.removeprefix(start) for key in self._client.keys(f"{start}:arm:*")}
        names = {one.removeprefix(":arm:").removesuffix(":info") for one in arms}
        if "experiment" in info:
            said = json.loads(info["experiment"])
            names |= {f"{said['name']}.{arm['name']}" for arm in said["arms"][1:]}
        lists = {name: KEYS.feed("global", name) for name in ("", *names)}
        return {
            name: dict(self._client.zrange(key, 0, -1, withscores=True))
            for name, key in lists.items()
        }

    def infos(self) -> list[tuple[str | None, ...]]:
        """Owner, version and offset of settings of each list."""
        keys = [KEYS.info("global", name) for name in self.expected()]
        return [tuple(self._client.hmget(key, "owner", "version", "config_offset")) for key in keys]


@pytest.mark.parametrize("seed", range(4))
def test_every_arm_is_whole_whatever_came_between(own_redis: OwnRedis, seed: int) -> None:
    random, client = Random(seed), own_redis.client()
    duel = Duel(own_redis.url, client, random)
    kinds = [duel.post, duel.delete, duel.setting, duel.part, duel.move, duel.lose]
    try:
        for _ in range(12):
            for kind in random.choices(kinds, (8, 1, 1, 12, 2, 1), k=40):
                kind()
            duel.settle()
            duel.holder.cycle_until(lambda: duel.found() == duel.expected())
            assert len(set(duel.infos())) == 1
    finally:
        for owner in duel.owners:
            owner.handover.close()


def test_a_feed_that_leaves_takes_arms_with_it_whose_info_somebody_removed(
    own_redis: OwnRedis,
) -> None:
    owner, client = Owner(own_redis.url, 10), own_redis.client()
    value = {**VALUE, "feeds": ["mine"]}
    running = settings_of(("feeds/mine", {}), ("experiments/one", value))
    gone = settings_of(
        ("experiments/one", {**value, "stopped": True}), ("feeds/mine", None), before=running
    )
    try:
        owner.add("p")
        owner.combiner.apply(running)
        owner.settle()
        assert client.exists(KEYS.feed("mine", "one.b"))
        client.delete(KEYS.info("mine"))
        owner.combiner.apply(gone)
        owner.settle()
        assert client.keys("feed:{mine}*") == []
    finally:
        owner.handover.close()
