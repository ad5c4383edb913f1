"""The writer beside a loop: Redis may be slow, away, read-only, restarted or flushed."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from builders.changes import whole_feed, whole_post, write_batch
from builders.own_redis import OwnRedis, RedisClient
from builders.redis_writer import KEYS, PREFIX
from builders.waiting import until
from builders.writing_loop import WritingLoop, expected, shown, started_loop
from feedmill.events.partition import ALL_SHARDS, shard_of
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.pipelines import open_pipeline
from feedmill.streams.redis.writer_thread import MOST_WAITING, WriterThread

pytestmark = pytest.mark.stack


@pytest.fixture
def loop(own_redis: OwnRedis) -> Iterator[WritingLoop]:
    """A loop with two feeds and three posts that Redis shows."""
    with started_loop(own_redis.url) as loop:
        yield loop


def wait_until_shown(loop: WritingLoop, client: RedisClient) -> None:
    def is_shown() -> bool:
        loop.step()
        return shown(client) == expected(loop)

    until(is_shown, every=0.002)


def test_a_full_queue_takes_no_more_and_the_newest_state_is_written_later(
    own_redis: OwnRedis, loop: WritingLoop, client: RedisClient
) -> None:
    own_redis.freeze()
    before = len(loop.submitted)

    def is_full() -> bool:
        """Whether two batches wait behind the one that Redis does not answer."""
        loop.set_feed("global", {"p0": float(len(loop.submitted))})
        loop.step()
        return len(loop.submitted) - before == 3

    until(is_full, every=0.002)
    assert not loop.writer.has_room
    assert not loop.writer.is_idle
    for score in range(100, 200):
        loop.set_feed("global", {"p0": float(score)})
        loop.step()
    assert len(loop.submitted) - before == 3
    own_redis.go_on()
    loop.settle()
    wait_until_shown(loop, client)
    assert loop.feeds["global"] == {"p0": 199.0}


def test_a_loop_can_wait_until_all_is_written_and_not_for_ever(
    own_redis: OwnRedis, loop: WritingLoop, client: RedisClient
) -> None:
    for score in range(20):
        loop.set_feed("global", {"p0": float(score)})
        loop.step()
        loop.writer.wait_idle(20.0)
        assert loop.writer.is_idle
        assert shown(client)[0]["global"] == {"p0": float(score)}
    own_redis.freeze()
    loop.set_feed("global", {"p0": 99.0})
    loop.step()
    loop.writer.wait_idle(0.01)
    assert not loop.writer.is_idle
    own_redis.go_on()
    loop.settle()


def test_a_thread_that_sleeps_begins_when_the_loop_says_so(
    own_redis: OwnRedis, client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else it wakes by itself, to look for a flush.
    monkeypatch.setattr(BatchWriter, "next_s", lambda _: time.monotonic() + 600.0)
    writer = WriterThread(open_pipeline(own_redis.url), PREFIX)
    writer.start()
    until(lambda: not writer.trouble)
    starts: list[Callable[[], Any]] = [
        writer.begin,
        lambda: writer.wait_idle(20.0),
        lambda: writer.stop(20.0),
    ]
    for number, start in enumerate(starts):
        key = KEYS.signals(f"p{number}")
        until(lambda: writer.is_idle)
        assert writer.submit(write_batch(whole_post(f"p{number}")))
        time.sleep(0.1)
        assert not client.exists(key)
        start()
        until(partial(client.exists, key))


def test_after_a_broken_connection_only_what_was_not_answered_is_written_again(
    loop: WritingLoop, client: RedisClient
) -> None:
    before = len(loop.submitted)
    client.client_kill_filter(_type="normal", skipme=True)
    loop.set_feed("global", {"p0": 9.0})
    wait_until_shown(loop, client)
    loop.settle()
    written = loop.submitted[before:]
    assert {change.feed for batch in written for change in batch.feeds} == {"global"}
    assert [change for batch in written for change in batch.signals] == []
    assert not loop.report.flushed


def test_nothing_is_lost_while_redis_is_away(
    own_redis: OwnRedis, loop: WritingLoop, client: RedisClient
) -> None:
    own_redis.stop()
    loop.set_post("p9", spam="0.9 v1 1")
    loop.set_feed("global", {"p9": 9.0})
    until(lambda: (loop.step(), loop.writer.trouble)[1])
    for score in range(50):
        loop.set_feed("community:a", {"p2": float(score)})
        loop.step()
    own_redis.start()
    wait_until_shown(loop, client)
    loop.settle()
    assert loop.report.flushed  # it came back empty
    assert shown(client) == expected(loop)


def test_an_owner_of_nothing_sees_a_flush_too(own_redis: OwnRedis, client: RedisClient) -> None:
    with WritingLoop(own_redis.url) as loop:
        until(lambda: client.keys(KEYS.flush_marker("*")))
        assert not loop.step().flushed
        client.flushall()
        until(lambda: loop.step().flushed, 10.0)
        # One flush is one report, and the next flush is seen as well.
        until(lambda: client.keys(KEYS.flush_marker("*")))
        assert not loop.step().flushed
        client.flushall()
        until(lambda: loop.step().flushed, 10.0)


def test_a_new_owner_is_told_of_a_former_owners_feeds(
    own_redis: OwnRedis, loop: WritingLoop, client: RedisClient
) -> None:
    with WritingLoop(own_redis.url, token=11) as owner:
        owner.writer.own(ALL_SHARDS, frozenset())
        until(lambda: (owner.step(), owner.report.existing_feeds)[1] is not None)
        assert owner.report.existing_feeds is not None
        assert set(owner.report.existing_feeds) == {"global", "community:a"}
        # No post is in one of them any more.
        owner.set_feed("global", {"p0": 1.0})
        owner.set_feed("community:a", {})
        owner.remove_feed("community:a")
        owner.settle()
        loop.set_feed("community:a", {"p2": 1.0})
        loop.settle()
        assert shown(client)[0] == {"global": {"p0": 1.0}}
        assert loop.report.refused_feeds == {"community:a"}


def test_stopping_writes_what_is_queued(own_redis: OwnRedis, client: RedisClient) -> None:
    writer = WriterThread(open_pipeline(own_redis.url), PREFIX)
    for i in range(MOST_WAITING):
        assert writer.submit(write_batch(whole_post(f"p{i}"), whole_feed("global", {f"p{i}": 1.0})))
    writer.start()
    assert writer.stop(20.0)
    assert client.zrange(KEYS.feed("global"), 0, -1) == [f"p{MOST_WAITING - 1}"]
    assert len(client.keys(KEYS.signals("*"))) == MOST_WAITING
    assert not writer.submit(write_batch(whole_post("late")))


def test_stopping_does_not_wait_for_a_redis_that_is_away(own_redis: OwnRedis) -> None:
    own_redis.stop()
    writer = WriterThread(open_pipeline(own_redis.url), PREFIX)
    writer.start()
    writer.submit(write_batch(whole_post("p")))
    until(lambda: "not connected" not in writer.trouble)
    assert writer.stop(20.0)


def test_an_error_in_the_writer_is_not_silent(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(BatchWriter, "write", fail)
    writer = WriterThread(open_pipeline(own_redis.url), PREFIX)
    writer.submit(write_batch(whole_post("p")))
    writer.start()
    writer._thread.join(20.0)
    with pytest.raises(RuntimeError, match="the Redis writer has ended"):
        writer.poll()
    with pytest.raises(RuntimeError, match="the Redis writer has ended"):
        writer.submit(write_batch(whole_post("p")))


def test_an_owner_that_gave_its_feeds_up_puts_none_on_the_index_again(
    loop: WritingLoop, client: RedisClient
) -> None:
    given_up = frozenset({shard_of("community:a")})
    loop.writer.own(ALL_SHARDS - given_up, given_up)
    until(lambda: loop.writer._shards is None)
    client.delete(KEYS.feed_index)
    until(lambda: client.zrange(KEYS.feed_index, 0, -1) == ["global"])
