"""The drawn world with a reader's pool beside the combiner: pages against the contract's oracle."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from builders.contract_oracle import COSTS, NAMES, OBJECTIVES
from builders.contract_score import score
from builders.drawn_world import AUTHORS, COMMUNITIES, World
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.view import PostView
from feedmill.readers import page as pages
from feedmill.readers.page import page_of
from feedmill.readers.pool import Pool
from feedmill.readers.request import decode_request

FEEDS = ("global", "mine", "community:py", "lang:en")
BOUNDS = {
    "weights": {name: [0, 1e6] for name in OBJECTIVES},
    "costs": {name: [0, 100] for name in COSTS},
    "half_life_hours": [1, 1000],
    "adjust": [-8, 8],
}


class ReaderWorld(World):
    """Every record goes to the pool too, which serves all feeds under the same settings."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.offset = Pool(NAMES), 0
        self.pool.restored(Settings(NAMES))
        self.seen = Counter[str]()
        for feed in FEEDS[:1] + FEEDS[2:]:
            self._set_in_pool(f"readers/{feed}", BOUNDS)

    def _each(self, update: Callable[[PostView], None]) -> None:
        super()._each(update)
        update(self.pool.view)
        self.pool.follow(self.now_ms)

    def _set(self, key: str, value: dict[str, Any] | None, random: Random) -> None:
        super()._set(key, value, random)
        self._set_in_pool(key, value)
        if key == "feeds/mine" and value is not None:
            self._set_in_pool("readers/mine", BOUNDS)

    def _set_in_pool(self, key: str, value: dict[str, Any] | None) -> None:
        raw = json.dumps({"value": value}).encode()
        self.offset += 1
        self.pool.apply(self.pool.newest.fold(key.encode(), raw, self.offset))

    def part(self, random: Random) -> None:
        super().part(random)
        parts = random.randrange(4)
        self.pool.work(self.now_ms, lambda: random.randrange(4) < parts)

    def tick(self, random: Random) -> None:
        super().tick(random)
        self.pool.tick(self.now_ms)

    def check(self, random: Random) -> None:
        super().check(random)
        self.check_pages(random)

    def check_pages(self, random: Random) -> None:
        """Every feed and arm as Redis has it, and drawn requests, by the contract alone."""
        while self.pool.work(self.now_ms):
            pass
        assert self.pool.served.feeds.keys() >= {"global", "community:py", "lang:en"}
        for feed in self.pool.served.feeds:
            self._check(feed, {}, None)
            for arm in self.oracle.arms(feed):
                self._check(feed, {"user_id": "u"}, arm)
            for _ in range(4):
                self._check(feed, draw_request(random), None)

    def _check(self, feed: str, body: dict[str, Any], arm: str | None) -> None:
        wanted = self.expected(feed if arm is None else f"{feed}@{arm}", body)
        served, found = self.pool.served.feeds[feed], list[tuple[str, float]]()
        cursor, name = None, None if arm is None else arm.rpartition(".")[2]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pages, "arm_of", lambda *_: name)
            while True:
                more: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
                request = decode_request(json.dumps({**body, **more}).encode(), served.bounds)
                answer = page_of(self.pool, served, request, self.now_ms).answer
                found += [(one["post_id"], one["score"]) for one in answer["posts"]]
                for one in answer["posts"]:
                    assert one["score"] == pytest.approx(explained(one, answer), abs=1e-9, rel=0)
                assert answer["arm"] == name
                self.seen.update(pages=1, posts=len(answer["posts"]), own=bool(body))
                if (cursor := answer["cursor"]) is None:
                    break
        assert [one for one, _ in found] == [one for one, _ in wanted], (feed, body, arm)
        for (_, value), (_, true) in zip(found, wanted, strict=True):
            assert value == pytest.approx(true, abs=1e-9, rel=0)

    def expected(self, feed: str, body: dict[str, Any]) -> list[tuple[str, float]]:
        """The list of a request, by dicts and sorting."""
        oracle, entries = self.oracle, list[tuple[str, float]]()
        weights = oracle.weights(feed)
        own = {**weights.get("costs", {}), **body.get("costs", {})}
        weights = {**weights, **body.get("weights", {}), "costs": own}
        weights["scale"] = {"novelty": 1.0, **dict.fromkeys(OBJECTIVES, 1.0), **weights["scale"]}
        weights = {**dict.fromkeys(OBJECTIVES, 0.0), **weights}
        if "half_life_hours" in body:
            weights["half_life_hours"] = body["half_life_hours"]
        for post_id, held in oracle.posts.items():
            post = held["post"]
            communities = {*(post.communities or ())}
            of_some = post.author_id in body.get("authors", ())
            of_some |= bool(communities & {*body.get("communities", ())})
            mute = body.get("mute", {})
            is_muted = post.author_id in mute.get("authors", ())
            is_muted |= bool(communities & {*mute.get("communities", ())})
            if ("authors" in body or "communities" in body) and not of_some:
                continue
            if is_muted or not oracle.matches(post_id, feed, self.now_ms):
                continue
            decision, _, factor = oracle.decide(post_id, feed, self.now_ms)
            if decision not in ("show", "demote"):
                continue
            truth = {n: {"value": oracle.last_good(post_id, n)} for n in OBJECTIVES + COSTS}
            value = score({**truth, "created_ms": held["created_ms"]}, weights, factor)
            adjust = body.get("adjust", {})
            value += adjust.get("authors", {}).get(post.author_id, 0.0)
            value += sum(adjust.get("communities", {}).get(name, 0.0) for name in communities)
            entries.append((post_id, value))
        entries.sort(key=lambda one: (round(one[1], 9), one[0].encode()), reverse=True)
        taken, kept = Counter[str](), []
        for post_id, value in entries:
            author = oracle.posts[post_id]["post"].author_id
            taken[author] += 1
            if weights["max_per_author"] is None or taken[author] <= weights["max_per_author"]:
                kept.append((post_id, value))
        return kept[: oracle.spec(feed)["size"]]


def explained(post: dict[str, Any], answer: dict[str, Any]) -> float:
    """The score of a post by what the answer says."""
    signals = {name: {"value": one["value"]} for name, one in post["signals"].items()}
    adjustments = post.get("adjustments", {})
    value = score({**signals, "created_ms": post["created_ms"]}, answer["weights"], post["factor"])
    value += adjustments.get("author", 0.0)
    return float(value + sum(adjustments.get("communities", {}).values()))


def draw_request(random: Random) -> dict[str, Any]:
    """The body of a request with personal parts."""
    body: dict[str, Any] = {"count": random.choice((1, 2, 3, 50))}

    def some(of: Sequence[str]) -> list[str]:
        return random.sample(of, k=random.randrange(len(of)))

    parts: dict[str, Any] = {
        "authors": some([*AUTHORS, "nobody"]),
        "communities": some([*COMMUNITIES, "none"]),
        "mute": {"authors": some(AUTHORS), "communities": some(COMMUNITIES)},
        "weights": {"quality": random.choice((0.25, 3)), "novelty": random.choice((0, 2))},
        "costs": {"hide": random.choice((0, 16)), "grumble": random.choice((0, 3))},
        "half_life_hours": random.choice((1, 12, 168)),
        "adjust": {
            "authors": {name: random.choice((-4, 4)) for name in some(AUTHORS)},
            "communities": {name: random.choice((-2, 1, 2)) for name in some(COMMUNITIES)},
        },
    }
    body |= {name: parts[name] for name in some([*parts])}
    return body
