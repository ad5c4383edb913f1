"""Redis refuses writes, all or those of one key: only what failed is written again."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from builders.engine_topics import Json
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.own_redis import OwnRedis
from builders.redis_watch import watched_writes
from builders.waiting import now_ms, until
from feedmill.deploy.local.ports import HOST, free_port

COMMUNITY = "harbour"
LIVE = [f"live-{n}" for n in range(60)]
NEW = [f"new-{n}" for n in range(5)]


def posts(engine: FaultEngine, post_ids: list[str]) -> None:
    engine.posts(
        {
            "post_id": p,
            "author_id": f"author-of-{p}",
            "created_at_ms": now_ms(),
            "text": f"A boat called {p}",
            "communities": [COMMUNITY],
        }
        for p in post_ids
    )


def hide(engine: FaultEngine, post_id: str) -> None:
    value = {"verdict": "hide", "by": "mod", "reason": "r", "at_ms": now_ms()}
    engine.send("overrides", f"post:{post_id}|*", value).get(10)


def click(engine: FaultEngine, post_id: str) -> None:
    event: Json = {"post_id": post_id, "user_id": "u", "kind": "click", "at_ms": now_ms()}
    engine.send("engagements", post_id, event).get(10)


@pytest.fixture
def engine(fault_engine: Callable[..., FaultEngine], own_redis: OwnRedis) -> FaultEngine:
    """A worker with all live posts in its feeds."""
    engine = fault_engine(redis=own_redis.url)
    engine.ready_worker()
    posts(engine, LIVE)
    engine.wait_decided(LIVE)
    wait_for_feeds(engine, set(LIVE))
    return engine


def wait_for_feeds(engine: FaultEngine, post_ids: set[str]) -> None:
    for feed in ("global", f"community:{COMMUNITY}"):
        until(partial(_is_feed, engine, feed, post_ids))


def _is_feed(engine: FaultEngine, feed: str, post_ids: set[str]) -> bool:
    return set(engine.order(feed)) == post_ids


def wait_for_renewal(engine: FaultEngine) -> None:
    """Wait until the worker had the time to write whatever else it wants to."""
    fresh = engine.feed()[1]["fresh_until_ms"]
    until(lambda: engine.feed()[1]["fresh_until_ms"] != fresh)


def written_posts(engine: FaultEngine, written: Any) -> set[str]:
    start = f"{engine.prefix}signals:"
    return {key.removeprefix(start) for key in written if key.startswith(start)}


def is_ready(engine: FaultEngine) -> bool:
    return all(one["ready"] for one in engine.instances().values())


def test_after_a_time_of_being_read_only_what_changed_meanwhile_is_written(
    engine: FaultEngine, own_redis: OwnRedis
) -> None:
    admin = own_redis.client()
    admin.replicaof(HOST, free_port(set()))
    posts(engine, NEW)
    hide(engine, LIVE[3])
    until(lambda: not is_ready(engine))
    assert set(engine.order()) == set(LIVE)
    with watched_writes(own_redis) as written:
        admin.replicaof("NO", "ONE")
        wait_for_feeds(engine, {*LIVE, *NEW} - {LIVE[3]})
        engine.wait_ready()
        wait_for_renewal(engine)
    assert written_posts(engine, written) == {*NEW, LIVE[3]}
    assert set(engine.truths()) == {*LIVE, *NEW}


def test_without_memory_removals_show_and_only_what_failed_is_written_again(
    engine: FaultEngine, own_redis: OwnRedis
) -> None:
    admin, worker = own_redis.client(), engine.workers[ALL_STAGES]
    admin.config_set("maxmemory", "1mb")
    posts(engine, NEW)
    hide(engine, LIVE[3])
    wait_for_feeds(engine, set(LIVE) - {LIVE[3]})
    until(lambda: engine.metric(worker, "feedmill_redis_errors_total") > 0)
    until(lambda: not engine.says_ready(worker))
    assert engine.truths(NEW) == {}
    with watched_writes(own_redis) as written:
        admin.config_set("maxmemory", "0")
        wait_for_feeds(engine, {*LIVE, *NEW} - {LIVE[3]})
        until(lambda: set(engine.truths(NEW)) == set(NEW))
        until(lambda: engine.truth(LIVE[3])["decision"] == "hide")
        until(lambda: engine.says_ready(worker))
        wait_for_renewal(engine)
    assert written_posts(engine, written) == {*NEW, LIVE[3]}
    assert "Redis lost what was written" not in worker.log.read_text()


def test_a_key_of_a_wrong_type_holds_back_nothing_but_itself(
    engine: FaultEngine, own_redis: OwnRedis
) -> None:
    admin = own_redis.client()
    wrong, right = LIVE[7], LIVE[8]
    key, feed = f"{engine.prefix}signals:{wrong}", f"{engine.prefix}feed:{{community:{COMMUNITY}}}"
    before = engine.truth(right)["engagement"]["value"]
    for name in (key, feed):
        admin.delete(name)
        admin.rpush(name, "of another type")
    with watched_writes(own_redis) as written:
        click(engine, wrong)
        click(engine, right)
        posts(engine, NEW)
        until(lambda: engine.truth(right)["engagement"]["value"] != before)
        until(lambda: set(engine.order()) == {*LIVE, *NEW})
        wait_for_renewal(engine)
        admin.delete(key, feed)
        wait_for_feeds(engine, {*LIVE, *NEW})
        until(lambda: engine.truth(wrong).get("engagement", {}).get("value") not in (None, before))
        wait_for_renewal(engine)
    assert written_posts(engine, written) == {*NEW, wrong, right}
    engine.check_feed()
    engine.check_feed(f"community:{COMMUNITY}")
