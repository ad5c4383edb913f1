"""What an engine writes to Redis, read by a plain client."""

from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis

from builders.contract_score import check_ranking, truth_of
from builders.waiting import until

Json = dict[str, Any]


class EngineFeeds:
    """The keys under one prefix."""

    redis: Redis
    prefix: str

    def feed(self, name: str = "global") -> tuple[list[tuple[str, float]], dict[str, str]]:
        """A feed, best first, and its info, both of one moment."""
        key = f"{self.prefix}feed:{{{name}}}"
        with self.redis.pipeline(transaction=True) as both:
            both.zrange(key, 0, -1, desc=True, withscores=True)
            both.hgetall(key + ":info")
            entries, info = both.execute()
        return [(post_id, float(score)) for post_id, score in entries], info

    def order(self, name: str = "global") -> list[str]:
        return [post_id for post_id, _ in self.feed(name)[0]]

    def truth(self, post_id: str) -> Json:
        """`signals:<post_id>`, its JSON fields decoded; empty where there is none."""
        fields: Any = self.redis.hgetall(f"{self.prefix}signals:{post_id}")
        return truth_of(fields)

    def truths(self, post_ids: Sequence[str] | None = None) -> dict[str, Json]:
        """`signals:` of these posts, of all without an argument."""
        start = f"{self.prefix}signals:"
        if post_ids is None:
            keys = list(self.redis.scan_iter(start + "*", count=2000))
        else:
            keys = [start + post_id for post_id in post_ids]
        found: dict[str, Json] = {}
        for i in range(0, len(keys), 500):
            with self.redis.pipeline(transaction=False) as pipe:
                for key in keys[i : i + 500]:
                    pipe.hgetall(key)
                for key, fields in zip(keys[i : i + 500], pipe.execute(), strict=True):
                    if fields:
                        found[key.removeprefix(start)] = truth_of(fields)
        return found

    def wait_decided(self, post_ids: Iterable[str], seconds: float = 60.0) -> dict[str, Json]:
        """Wait until none of these posts is held or missing; what is true of them."""
        wanted = list(post_ids)

        def decided() -> dict[str, Json] | None:
            found = self.truths(wanted)
            done = len(found) == len(wanted) and all(
                truth["decision"] != "hold" for truth in found.values()
            )
            return found if done else None

        found: dict[str, Json] = until(decided, seconds)
        return found

    def wait_shown(self, post_id: str, feed: str = "global", seconds: float = 30.0) -> None:
        """Wait until a feed has this post."""
        until(lambda: post_id in self.order(feed), seconds)

    def wait_gone(self, post_id: str, feed: str = "global", seconds: float = 30.0) -> None:
        """Wait until a feed does not have this post."""
        until(lambda: post_id not in self.order(feed), seconds)

    def wait_decision(self, post_id: str, decision: str, seconds: float = 30.0) -> None:
        """Wait until this is what is decided about a post."""
        until(lambda: self.truth(post_id).get("decision") == decision, seconds)

    def check_feed(self, name: str = "global", truths: dict[str, Json] | None = None) -> int:
        """Recompute a quiet feed from `:info` and `signals:` and compare; its size."""
        entries, info = self.feed(name)
        check_ranking(entries, info, truths if truths is not None else self.truths())
        return len(entries)

    def is_right(self, name: str = "global") -> bool:
        """Whether `check_feed` finds nothing wrong by now."""
        try:
            return self.check_feed(name) > 0
        except AssertionError:
            return False

    def forget_redis(self) -> int:
        """Delete all keys of the prefix, as a flush does."""
        keys = list(self.redis.scan_iter(f"{self.prefix}*", count=2000))
        for i in range(0, len(keys), 1000):
            self.redis.delete(*keys[i : i + 1000])
        return len(keys)
