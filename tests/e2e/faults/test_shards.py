"""Rankers share the shards of feeds: whoever joins, leaves or is paused, readers see none of it."""

import threading
import time
from random import Random
from typing import Any

import pytest

from builders.contract_oracle import shard_of
from builders.engine import Worker
from builders.engine_topics import post_of
from builders.fault_engine import FaultEngine, go_on, pause
from builders.golden_texts import drawn
from builders.waiting import in_background, until

COMMUNITIES = [f"town-{n}" for n in range(30)]
FEEDS = ["global", *(f"community:{name}" for name in COMMUNITIES)]
POSTS = [f"boat-{n}" for n in range(120)]
EXPELLED = "the group expelled this worker"


def some_posts(engine: FaultEngine, names: list[str]) -> None:
    random = Random(names[0])
    engine.posts(
        post_of(name, drawn("ordinary", random), communities=[COMMUNITIES[n % 30]])
        for n, name in enumerate(names)
    )
    engine.wait_decided(names)


def owners(engine: FaultEngine) -> dict[int, str]:
    """By shard the token under which its feeds were written last."""
    found: dict[int, str] = {}
    for feed in FEEDS:
        owner: Any = engine.redis.hget(f"{engine.prefix}feed:{{{feed}}}:info", "owner")
        found[shard_of(feed)] = str(owner)
    return found


def everything(engine: FaultEngine, prefix: str) -> dict[str, Any]:
    """What readers are told of every feed and post, without who wrote it and when."""
    found: dict[str, Any] = {}
    for key in engine.redis.scan_iter(f"{prefix}*", count=2000):
        name = key.removeprefix(prefix)
        if name.endswith(":info"):
            info: Any = engine.redis.hgetall(key)
            found[name] = {field: info[field] for field in ("weights", "gates", "size")}
        elif name.startswith("feed:"):
            entries: Any = engine.redis.zrange(key, 0, -1, withscores=True)
            found[name] = dict(entries)
        elif name.startswith("signals:"):
            fields: Any = engine.redis.hgetall(key)
            found[name] = {field: fields[field] for field in fields if field != "owner"}
    return found


def check_as_undisturbed(engine: FaultEngine) -> None:
    """Compare with what one worker writes that reads everything, and that nothing disturbs."""
    for worker in engine.workers.values():
        if worker.process.poll() is None:
            worker.stop(20.0)
    alone = f"{engine.prefix}alone."
    engine.ready_worker("alone", variables={"FEEDMILL_REDIS_PREFIX": alone})
    until(lambda: set(everything(engine, alone)) == shown(engine), 60)
    expected, found = everything(engine, alone), everything(engine, engine.prefix)
    for name, content in expected.items():
        if name.startswith("feed:") and not name.endswith(":info"):
            assert found[name] == pytest.approx(content, abs=1e-9, rel=0), name
        else:
            assert found[name] == content, name


def share(engine: FaultEngine, worker: Worker) -> int:
    """How many feeds a worker ranks."""
    return round(engine.metric(worker, "feedmill_feeds"))


def share_all(engine: FaultEngine, *workers: Worker) -> bool:
    """Whether each has some feeds, and they have all of them together, each one once."""
    shares = [share(engine, worker) for worker in workers]
    feeds = [name for name in shown(engine) if name.endswith(":info")]
    return all(shares) and sum(shares) == len(feeds)


def shown(engine: FaultEngine) -> set[str]:
    found = everything(engine, engine.prefix)
    return {name for name in found if not name.startswith("alone.")}


class Reads:
    """Reads of feeds, all of which must have what had been ranked when they began."""

    def __init__(self, engine: FaultEngine) -> None:
        self.count = 0
        self._engine = engine
        self._least = {feed: set(engine.order(feed)) for feed in FEEDS}

    def may_miss(self, *post_ids: str) -> None:
        """From here on these posts need not be there."""
        self._least = {feed: least.difference(post_ids) for feed, least in self._least.items()}

    def until(self, stop: threading.Event) -> None:
        while not stop.wait(0.01):
            for feed, least in self._least.items():
                entries, info = self._engine.feed(feed)
                assert least <= {post_id for post_id, _ in entries}, feed
                assert int(info["size"]) == len(entries), feed
            self.count += 1


def test_feeds_are_those_of_one_worker_whoever_joins_leaves_and_is_paused(
    engine: FaultEngine,
) -> None:
    """Of workers with every stage; `make chaos` does it to judges and rankers."""
    first = engine.ready_worker("first")
    some_posts(engine, POSTS)
    until(lambda: len(engine.order()) > 100 and share_all(engine, first))
    engine.set("weights/community:town-1", {"quality": 1, "engagement": 0})
    engine.wait_applied(engine.set("feeds/boats", {"match": {"communities": COMMUNITIES[:3]}}))
    alone, reads = owners(engine), Reads(engine)

    with in_background(reads.until):
        # Another one joins: shards go to it, and the others are not written again.
        second = engine.ready_worker("second")
        until(lambda: share_all(engine, first, second), 60)
        kept = {shard for shard, token in owners(engine).items() if token == alone[shard]}
        assert len(alone) // 4 <= len(kept) <= 3 * len(alone) // 4
        some_posts(engine, [f"second-{n}" for n in range(40)])

        # One is paused: another has its shards within the session timeout and 10 s.
        pause(first)
        start, paused_owners = time.monotonic(), owners(engine)
        reads.may_miss("boat-7", "boat-9")
        engine.hide("boat-7")
        engine.send("posts", "boat-9", None)
        until(lambda: all(owners(engine)[shard] != paused_owners[shard] for shard in kept), 60)
        print(f"another has the shards after {time.monotonic() - start:.1f} s")
        until(lambda: not {"boat-7", "boat-9"}.intersection(*map(engine.order, FEEDS)))
        some_posts(engine, [f"third-{n}" for n in range(40)])
        after = owners(engine)
        go_on(first)
        until(lambda: EXPELLED in first.log.read_text())
        # What it had in hand lost, and it takes shards again.
        until(lambda: share_all(engine, first, second), 60)
        assert all(int(owners(engine)[shard]) >= int(token) for shard, token in after.items())

        third = engine.ready_worker("third")
        until(lambda: share_all(engine, first, second, third), 60)
        second.kill()
        until(lambda: share_all(engine, first, third), 60)
        some_posts(engine, [f"fourth-{n}" for n in range(40)])
        third.stop(20.0)
        until(lambda: share_all(engine, first), 60)
        some_posts(engine, [f"fifth-{n}" for n in range(40)])
    assert reads.count > 10
    check_as_undisturbed(engine)
