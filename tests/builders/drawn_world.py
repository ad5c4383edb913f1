"""A small world of posts, signals, overrides and settings, in the combiner and in the oracle.

A run is a list of numbers, each the seed of one operation, so that failures shrink to few.  What
`cycle` returns is folded into a model of Redis, which must then equal what the oracle makes of the
same records from nothing.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random
from typing import Any, Literal

import numpy as np
import pytest

from builders.contract_oracle import GATES, HOUR_MS, NAMES, PATTERNS, Oracle, shard_of
from builders.drawn_settings import draw_experiment, draw_feed, draw_gate, draw_rates, draw_weights
from builders.redis_model import RedisModel
from feedmill.events.errors import BadSetting
from feedmill.events.override import Override, OverrideKey, OverrideVerdict
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.combiner.combiner import always
from feedmill.rankers.combiner.view import PostView

START_MS = 1_700_000_000_000
# Their order differs by bytes, by UTF-16 and by number.
POSTS = ("a", "B", "p10", "p9", "é", "\uffee", "\U0001f600", "zz", "b", "c", "d")
AUTHORS = ("al", "bo", "cy")
# Of one shard, where there is a place for one or for two, and of two others.
COMMUNITIES = ("py", "kf", "xy", "go")
LANGS = (None, "en", "sp", "de")
# The operations on `World`, and how often each comes.
KINDS = {
    "post": 4,
    "delete": 1,
    "signal": 5,
    "clear": 1,
    "batch": 0.5,
    "override": 2,
    "setting": 2,
    "experiment": 1,
    "time": 1,
    "tick": 1,
    "cycle": 2,
    "part": 3,
    "restore": 0.5,
    "rewrite": 1,
    "all": 1,
    "move": 1,
    "check": 2,
}
PER_RECORD = 10  # offsets between two records of one post
# A signal with its name and post; None withdraws it.
Written = tuple[str, str, Signal | None]


class World:
    """The same operations on rankers that share the shards, and on the oracle."""

    def __init__(self) -> None:
        self.rankers = (Combiner(NAMES), Combiner(NAMES, shards=frozenset()))
        # What Redis had of shards that a ranker got: it must go if it is in none of its lists.
        self.left: dict[Combiner, set[str]] = {ranker: set() for ranker in self.rankers}
        self.combiner = self.rankers[0]
        self.oracle = Oracle()
        self.redis = RedisModel()
        self.now_ms = START_MS
        self.ticked_ms = 0
        self.records = dict.fromkeys(POSTS, 0)  # how many records of each post there were

    def run_all(self, seeds: Iterable[int]) -> None:
        for seed in seeds:
            self.run(seed)
        self.check(Random(0))

    def run(self, seed: int) -> None:
        random = Random(seed)
        [kind] = random.choices(list(KINDS), list(KINDS.values()))
        getattr(self, kind)(random)

    def post(self, random: Random) -> None:
        post, offset, timestamp_ms = record = self._draw_post(random)
        self._each(lambda view: view.update_post(*record))
        self.oracle.post(post, offset, timestamp_ms)
        if random.random() < 0.6:
            value = random.choice((0.1, 0.1, 0.1, 0.7, None))
            written: list[Written] = [
                (name, post.post_id, self._signal(post.post_id, offset, value, random))
                for name in GATES
            ]
            written += [(name, post.post_id, None) for name in NAMES.all if random.random() < 0.05]
            random.shuffle(written)
            self._write_signals(written)

    def _draw_post(self, random: Random) -> tuple[Post, int, int]:
        """A version of a post, its offset, and the time of its record."""
        post_id = random.choice(POSTS)
        age_ms = random.choice((0, 0, 10_000, -HOUR_MS, *(n * HOUR_MS for n in (1, 5, 30, 160))))
        post = Post(
            post_id=post_id,
            author_id=random.choice(AUTHORS),
            created_at_ms=self.now_ms - age_ms,
            text="",
            lang=random.choice(LANGS),
            communities=tuple(random.choices(COMMUNITIES, k=random.choice((0, 1, 2)))) or None,
            in_reply_to=random.choice((None, None, None, "x")),
        )
        timestamp_ms = self.now_ms - random.choice((0, 0, 3000))
        if random.random() < 0.05 and self.records[post_id]:  # read again
            return post, (self.records[post_id] - 1) * PER_RECORD, timestamp_ms
        return post, self._next(post_id), timestamp_ms

    def delete(self, random: Random) -> None:
        post_id = random.choice(POSTS)
        offset = self._next(post_id)
        deletion = Deletion(post_id, deleted=True)
        self._each(lambda view: view.update_post(deletion, offset, self.now_ms))
        self.oracle.delete(post_id, offset)

    def batch(self, random: Random) -> None:
        """Posts and deletions at once, then signals at once: the same ids come again in them."""
        records: list[tuple[Post | Deletion, int, int]] = []
        for _ in range(random.randrange(2, 30)):
            record: tuple[Post | Deletion, int, int] = self._draw_post(random)
            if random.random() < 0.15:
                post_id = random.choice(POSTS)
                record = Deletion(post_id, deleted=True), self._next(post_id), self.now_ms
            records.append(record)
        random.shuffle(records)  # so that versions come late
        posts, offsets, timestamps_ms = zip(*records, strict=True)
        self._each(lambda view: view.update_posts(posts, offsets, timestamps_ms))
        for one, offset, timestamp_ms in records:
            if isinstance(one, Deletion):
                self.oracle.delete(one.post_id, offset)
            else:
                self.oracle.post(one, offset, timestamp_ms)
        drawn = [self._draw_signal(random) for _ in range(random.randrange(2, 60))]
        self._write_signals(
            [(name, one.post_id, None if random.random() < 0.05 else one) for name, one in drawn]
        )

    def _next(self, post_id: str) -> int:
        self.records[post_id] += 1
        return self.records[post_id] * PER_RECORD

    def signal(self, random: Random) -> None:
        name, signal = self._draw_signal(random)
        self._each(lambda view: view.update_signals(name, [signal]))
        self.oracle.signal(name, signal)

    def _draw_signal(self, random: Random) -> tuple[str, Signal]:
        """A signal, and its name; of the newest version of a post or of another one."""
        name, post_id = random.choice(NAMES.all), random.choice(POSTS)
        version = self.records[post_id] + random.choice((0, 0, 0, 0, -1, 1, 1, 2))
        grid = (0.0, 0.25, 0.5, 0.6, 0.9, 1.0, None)
        value = random.choice((*grid, -2.0) if name == "novelty" else grid)
        return name, self._signal(post_id, max(version, 0) * PER_RECORD, value, random)

    def _write_signals(self, written: list[Written]) -> None:
        """Signals of several names, and withdrawals."""
        self._each(lambda view: view.update_written(written))
        for name, post_id, one in written:
            if one is None:
                self.oracle.clear(name, post_id)
            else:
                self.oracle.signal(name, one)

    def _signal(self, post_id: str, offset: int, value: float | None, random: Random) -> Signal:
        return Signal(
            post_id=post_id,
            post_offset=offset,
            value=value if value is None else float(np.float32(value)),
            model="m",
            version=random.choice("12"),
            at_ms=self.now_ms,
            error="failed" if value is None else None,
            revision=random.choice((0, 0, 0, 1, 2)),
        )

    def clear(self, random: Random) -> None:
        name, post_id = random.choice(NAMES.all), random.choice(POSTS)
        self._each(lambda view: view.update_signals(name, [post_id]))
        self.oracle.clear(name, post_id)

    def override(self, random: Random) -> None:
        kind: Literal["post", "author"] = random.choice(("post", "post", "author"))
        subject = random.choice(POSTS if kind == "post" else AUTHORS)
        gate = random.choice(("*", "*", "spam", "extreme"))
        key = OverrideKey(kind, subject, gate)
        override = None
        if random.random() < 0.8:
            verdict: OverrideVerdict = random.choice(("allow", "demote", "hide"))
            bound = verdict == "allow" and kind == "post" and random.random() < 0.5
            wait_ms = random.choice((None, None, 10_000, 2 * HOUR_MS, -1000))
            override = Override(
                verdict=verdict,
                by=random.choice(("mo", "jo")),
                reason="",
                at_ms=self.now_ms,
                expires_at_ms=None if wait_ms is None else self.now_ms + wait_ms,
                post_offset=self.records[subject] * PER_RECORD if bound else None,
            )
        self._each(lambda view: view.update_override(key, override))
        self.oracle.override(key, override)

    def setting(self, random: Random) -> None:
        key, value = self._draw_setting(random)
        if value is None and self.oracle.running(key.removeprefix("feeds/")):
            return  # which is refused
        self._set(key, value, random)

    def experiment(self, random: Random) -> None:
        """One begins, has more traffic, or ends."""
        name, value = self.oracle.running(random.choice(("global", "mine"))) or ("", {})
        if name:
            value = {**value, "traffic": value["traffic"] + 1, "stopped": random.random() < 0.6}
        else:
            name, value = f"e{len(self.oracle.settings)}{random.random()}", draw_experiment(random)
        with suppress(BadSetting):  # an arm may equal the feed, or another
            self._set(f"experiments/{name}", value, random)

    def _set(self, key: str, value: dict[str, Any] | None, random: Random) -> None:
        raw = json.dumps({"value": value}).encode()
        if value is None:
            raw = random.choice((b"", raw))
        for ranker in self.rankers:
            before = ranker.settings
            ranker.apply(before.fold(key.encode(), raw, before.offset + 1))
        self.oracle.settings.pop(key, None)
        if value is not None:
            self.oracle.settings[key] = value

    def _draw_setting(self, random: Random) -> tuple[str, dict[str, Any] | None]:
        if random.random() < 0.1:
            return "rates", draw_rates(random)
        feed = random.choice(("", "/global", "/community:py", "/mine", "/lang:en"))
        kind = random.choice(("weights", "gates", "feeds"))
        if kind == "feeds":
            feed = random.choice(("global", "mine", "community:*", "community:py", "lang:*"))
            if random.random() < 0.25:
                return "feeds/" + feed, None
            return "feeds/" + feed, draw_feed(random, feed)
        if random.random() < 0.25:
            return kind + feed, None
        if kind == "weights":
            return kind + feed, draw_weights(random)
        return kind + feed, {name: draw_gate(random) for name in GATES if random.random() < 0.5}

    def time(self, random: Random) -> None:
        steps = (300, 1000, 30_000, 59_000, 61_000, HOUR_MS, 5 * HOUR_MS, 100 * HOUR_MS)
        self.now_ms += random.choice(steps)

    def tick(self, _: Random) -> None:
        for ranker in self.rankers:
            ranker.work(self.now_ms)  # settings count from when they are followed
            ranker.tick(self.now_ms)
        self.oracle.forget(self.now_ms)
        self.ticked_ms = self.now_ms

    def cycle(self, random: Random) -> None:
        """A cycle; where Redis fails it, everything is lost and written again."""
        if random.random() < 0.1:
            for ranker in self.rankers:
                ranker.cycle(self.now_ms)
                self.take_over(ranker)
        else:
            self.write()

    def part(self, random: Random) -> None:
        """Some parts of the work, and some of the changes, as far as time allows."""
        parts, ranker = random.randrange(6), random.choice(self.rankers)
        ranker.work(self.now_ms, lambda: random.randrange(6) < parts)
        self._take(ranker, lambda: random.random() < 0.5)

    def restore(self, random: Random) -> None:
        """Posts come that are ranked only together."""
        for ranker in self.rankers:
            ranker.is_restoring = True
        for _ in range(random.randrange(1, 10)):
            random.choice((self.post, self.post, self.signal, self.delete, self.override))(random)
            for ranker in self.rankers:
                ranker.rank_changes(self.now_ms)
        for ranker in self.rankers:
            ranker.is_restoring = False

    def move(self, random: Random) -> None:
        """Some shards get other owners, perhaps before these have dealt with what came."""
        among = random.choice((0.0, 0.5, 0.5, 1.0))
        mine = frozenset(shard for shard in ALL_SHARDS if random.random() < among)
        for ranker, shards in zip(self.rankers, (mine, ALL_SHARDS - mine), strict=True):
            gained = shards - ranker.shards
            ranker.own(shards)
            self.left[ranker] |= {feed for feed in self.redis.feeds if shard_of(feed) in gained}

    def take_over(self, ranker: Combiner) -> None:
        """Write everything; feeds that are in Redis and are not known are removed."""
        ranker.rewrite_all()
        self.left[ranker].update(self.redis.feeds)

    def write(self) -> None:
        for ranker in self.rankers:
            ranker.work(self.now_ms)
            self._take(ranker)
        if self.ticked_ms == self.now_ms:
            self.check_feeds()
            self.check_signals()

    def _take(self, ranker: Combiner, has_time: Callable[[], bool] = always) -> None:
        """Write what a ranker hands out, which is of its shards alone."""
        changes = ranker.take(self.now_ms, has_time)
        names = [one.post_id for one in changes.signals] + [one.feed for one in changes.feeds]
        assert {shard_of(name) for name in (*names, *changes.removed_feeds)} <= ranker.shards
        self.redis.take(*changes)
        if ranker.is_complete:
            left, self.left[ranker] = self.left[ranker].difference(ranker.feeds), set()
            self.redis.take((), (), [feed for feed in left if shard_of(feed) in ranker.shards])

    def _each(self, update: Callable[[PostView], None]) -> None:
        for ranker in self.rankers:
            update(ranker.view)

    def rewrite(self, random: Random) -> None:
        self.write()
        feeds = random.sample(sorted(self.redis.feeds), k=min(2, len(self.redis.feeds)))
        posts = random.sample(sorted(self.redis.hashes), k=min(2, len(self.redis.hashes)))
        for feed in feeds:
            self.redis.feeds[feed] = {"junk": 1.0}
        for post_id in posts:
            self.redis.hashes.pop(post_id, None)
        for ranker in self.rankers:
            ranker.rewrite(feeds, [*posts, "unknown"])

    def all(self, _: Random) -> None:
        self.redis = RedisModel()
        for ranker in self.rankers:
            ranker.rewrite_all()

    def check(self, _: Random) -> None:
        self.tick(_)
        self.write()
        self.check_places()
        counts = {"show": 0, "demote": 0, "hide": 0, "hold": 0}
        for post_id in self.oracle.posts:
            counts[self.oracle.decide(post_id, "", self.now_ms)[0]] += 1
        for ranker in self.rankers:
            assert ranker.decisions() == counts
            assert not ranker.has_changes

    def check_feeds(self) -> None:
        oracle = self.oracle
        exist = {feed for ranker in self.rankers for feed in ranker.feeds}
        assert exist == set(self.redis.feeds)
        for feed in exist:
            arms, running = self.redis.arms[feed], oracle.running(feed)
            info = self.redis.info[feed]["experiment"]
            assert (json.loads(info)["name"] if info else "") == (running[0] if running else "")
            self._check_list(self.redis, feed, feed)
            assert arms.feeds.keys() == oracle.arms(feed).keys()
            for arm in oracle.arms(feed):
                self._check_list(arms, arm, f"{feed}@{arm}")
        self._check_which(exist)

    def _check_list(self, redis: RedisModel, name: str, by_contract: str) -> None:
        """A list of Redis, and what it says of itself."""
        oracle = self.oracle
        ranking, expected = redis.ranking(name), oracle.feed(by_contract, self.now_ms)
        assert [one for one, _ in ranking] == [one for one, _ in expected], by_contract
        for (_, score), (_, true) in zip(ranking, expected, strict=True):
            assert score == pytest.approx(true, abs=1e-9, rel=0)
        info, weights = redis.info[name], oracle.weights(by_contract)
        assert info["gates"] == oracle.gates(by_contract)
        assert {**info["weights"], "explore": 0} == {**weights, "explore": 0}

    def _check_which(self, exist: set[str]) -> None:
        declared = {"global", *self.oracle.declared()}
        assert declared <= exist
        candidates = self.oracle.candidates(self.now_ms)
        assert exist - declared <= candidates
        for pattern in PATTERNS:
            made = [f for f in exist - declared if f.startswith(pattern.removesuffix("*"))]
            by_shard = Counter(map(shard_of, made))
            assert max(by_shard.values(), default=0) <= self.oracle.places(pattern)

    def check_places(self) -> None:
        """Which feeds exist once places were given, whatever came before in whatever order."""
        declared = {"global", *self.oracle.declared()}
        exist = {feed for ranker in self.rankers for feed in ranker.feeds}
        assert exist == declared | self.oracle.on_demand(self.now_ms)

    def check_signals(self) -> None:
        shown = {p for p in self.redis.hashes if self.redis.expires[p] >= self.now_ms}
        cutoff = self.now_ms - self.oracle.longest_ms()
        assert shown == {p for p, at in self.oracle.posts.items() if at["created_ms"] >= cutoff}
        for post_id in shown:
            assert self.redis.fields(post_id) == self.oracle.fields(post_id, self.now_ms), post_id
            created_ms = self.oracle.posts[post_id]["created_ms"]
            assert self.redis.expires[post_id] == created_ms + self.oracle.longest_ms()
