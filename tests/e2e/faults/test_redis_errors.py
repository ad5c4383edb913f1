"""Redis refuses writes, all or those that need memory: only what failed is written again."""

import contextlib
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from builders.engine import changed
from builders.engine_topics import post_of
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.own_redis import OwnRedis
from builders.waiting import until
from feedmill.deploy.local.process import HOST, free_port

COMMUNITY = "harbour"
LIVE = [f"live-{n}" for n in range(60)]
# Feeds are renewed after 2 s, not 5.
HASTY = "from feedmill.streams.ranking import feed_freshness", "feed_freshness.RENEW_S = 2.0"


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    """A Redis of these tests alone."""
    server = OwnRedis(tmp_path_factory.mktemp("own-redis"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def engine(
    stack: Any, own_redis: OwnRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultEngine]:
    """A worker with live posts in its feeds; each test adds some, and hides none of another's."""
    folder = tmp_path_factory.mktemp("redis-errors")
    engine = FaultEngine(stack.kafka, own_redis.url, f"f{uuid.uuid4().hex[:6]}.", folder)
    try:
        engine.ready_worker(variables=changed(folder, *HASTY))
        post(engine, LIVE)
        engine.wait_decided(LIVE)
        wait_for_feeds(engine, set(LIVE))
        yield engine
    finally:
        engine.stop()


@contextlib.contextmanager
def watched_writes(redis: OwnRedis) -> Iterator[Counter[str]]:
    """How often each key was written to by a script while the block ran; full at its end.

    What a test does by plain commands is not counted.
    """
    written, mark = Counter[str](), f"end-{uuid.uuid4().hex}"
    client = redis.client()
    with client.monitor() as monitor:

        def listen() -> None:
            while mark not in (command := monitor.next_command()["command"]):
                words = command.split()
                if words[0].upper() == "EVALSHA":
                    written.update(words[3 : 3 + int(words[2])])

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield written
        finally:
            client.echo(mark)
            thread.join()


def post(engine: FaultEngine, post_ids: list[str]) -> None:
    engine.posts(post_of(p, f"A boat called {p}", communities=[COMMUNITY]) for p in post_ids)


def new_posts() -> list[str]:
    return [f"new-{uuid.uuid4().hex[:6]}" for _ in range(5)]


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


def test_after_a_time_of_being_read_only_what_changed_meanwhile_is_written(
    engine: FaultEngine, own_redis: OwnRedis
) -> None:
    admin, worker = own_redis.client(), engine.workers[ALL_STAGES]
    live, hidden, new = set(engine.order()), LIVE[3], new_posts()
    admin.replicaof(HOST, free_port(set()))
    post(engine, new)
    engine.hide(hidden)
    until(lambda: not engine.says_ready(worker))
    assert set(engine.order()) == live
    with watched_writes(own_redis) as written:
        admin.replicaof("NO", "ONE")
        wait_for_feeds(engine, {*live, *new} - {hidden})
        until(lambda: engine.says_ready(worker))
        wait_for_renewal(engine)
    assert written_posts(engine, written) == {*new, hidden}
    assert {*LIVE, *new} <= set(engine.truths())


def test_without_memory_removals_show_and_only_what_failed_is_written_again(
    engine: FaultEngine, own_redis: OwnRedis
) -> None:
    admin, worker = own_redis.client(), engine.workers[ALL_STAGES]
    live, hidden, new = set(engine.order()), LIVE[4], new_posts()
    before = engine.metric(worker, "feedmill_redis_errors_total")
    admin.config_set("maxmemory", "1mb")
    post(engine, new)
    engine.hide(hidden)
    wait_for_feeds(engine, live - {hidden})
    until(lambda: engine.metric(worker, "feedmill_redis_errors_total") > before)
    until(lambda: not engine.says_ready(worker))
    assert engine.truths(new) == {}
    with watched_writes(own_redis) as written:
        admin.config_set("maxmemory", "0")
        wait_for_feeds(engine, {*live, *new} - {hidden})
        until(lambda: set(engine.truths(new)) == set(new))
        engine.wait_decision(hidden, "hide")
        until(lambda: engine.says_ready(worker))
        wait_for_renewal(engine)
    assert written_posts(engine, written) == {*new, hidden}
    assert "Redis lost what was written" not in worker.log.read_text()
