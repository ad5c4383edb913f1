"""What the loop sends to Redis itself, and what it leaves to the writer's thread."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from builders.own_redis import OwnRedis, RedisClient
from builders.redis_writer import KEYS
from builders.waiting import until
from builders.writing_loop import WritingLoop, expected, shown, started_loop
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.write_batch import WriteReport
from feedmill.streams.redis.writer_thread import WriterThread

pytestmark = pytest.mark.stack


@pytest.fixture
def loop(own_redis: OwnRedis) -> Iterator[WritingLoop]:
    with started_loop(own_redis.url) as loop:
        yield loop


@pytest.fixture
def quiet_loop(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritingLoop]:
    """Such a loop, whose thread does not wake by itself to look for a flush."""
    monkeypatch.setattr(BatchWriter, "next_s", lambda _: time.monotonic() + 600.0)
    with started_loop(own_redis.url) as loop:
        yield loop


def test_the_loop_sends_what_is_quick_and_the_thread_writes_the_rest(
    quiet_loop: WritingLoop, client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    senders: list[bool] = []
    begin = BatchWriter.begin

    def noted(*arguments: Any) -> Any:
        senders.append(threading.current_thread() is threading.main_thread())
        return begin(*arguments)

    monkeypatch.setattr(BatchWriter, "begin", noted)
    many = {f"p{i}": float(i) for i in range(2_000)}

    def set_posts() -> None:
        for i in range(150):
            quiet_loop.set_post(f"q{i}", spam="0.1 v1 1")

    changes: list[tuple[Callable[[], None], bool]] = [
        (lambda: quiet_loop.set_feed("global", {"p1": 5.0}), True),
        (lambda: quiet_loop.set_post("p1", spam="0.2 v1 2"), True),
        (set_posts, False),
        (lambda: quiet_loop.set_feed("lang:en", {"p1": 5.0}), False),
        (lambda: quiet_loop.set_feed("lang:en", {"p1": 6.0}), True),
        (lambda: quiet_loop.set_feed("lang:en", many), False),
        (lambda: quiet_loop.remove_feed("lang:en"), False),
    ]
    for change, is_quick in changes:
        until(lambda: quiet_loop.writer.is_idle)
        senders.clear()
        change()
        quiet_loop.settle()
        assert senders == [is_quick]
        assert shown(client) == expected(quiet_loop)


def test_a_redis_that_does_not_answer_does_not_hold_the_loop(
    own_redis: OwnRedis, quiet_loop: WritingLoop, client: RedisClient
) -> None:
    own_redis.freeze()
    quiet_loop.set_feed("global", {"p0": 99.0})
    quiet_loop.step()
    assert quiet_loop.writer._sent is not None
    quiet_loop.writer.begin()
    # Had it waited for the answers, the connection's own limit would have ended the wait.
    assert quiet_loop.writer.trouble == ""
    assert not quiet_loop.writer.is_idle
    own_redis.go_on()
    quiet_loop.settle()
    assert shown(client) == expected(quiet_loop)
    assert [batch.unwritten for batch in quiet_loop.report.finished if batch.unwritten] == []


def test_a_redis_that_lost_the_scripts_gets_them_again(
    quiet_loop: WritingLoop, client: RedisClient
) -> None:
    client.script_flush()
    quiet_loop.set_feed("global", {"p0": 99.0})
    quiet_loop.step()
    assert quiet_loop.writer._sent is not None
    quiet_loop.settle()
    assert shown(client) == expected(quiet_loop)
    assert [batch.unwritten for batch in quiet_loop.report.finished if batch.unwritten] == []


def test_what_the_loop_sends_is_answered_before_a_flush_is_looked_for(
    loop: WritingLoop, client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the thread, which looks all the time, would read the answers to what the loop sent.
    monkeypatch.setattr(BatchWriter, "next_s", lambda _: 0.0)
    for score in range(300):
        loop.set_feed("global", {"p0": float(score)})
        loop.step()
    loop.settle()
    assert shown(client) == expected(loop)
    assert sum(batch.unwritten for batch in loop.report.finished) == 0
    assert loop.writer.trouble == ""


def test_changes_are_announced_without_the_thread(
    own_redis: OwnRedis, loop: WritingLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = own_redis.client().pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(KEYS.feed_changes)
    assert subscription.get_message(timeout=10) is None  # that it has subscribed

    def sleep(_: WriterThread) -> bool:
        time.sleep(0.01)
        return True

    monkeypatch.setattr(WriterThread, "_go_on", sleep)
    loop.set_feed("global", {"p0": 99.0})
    versions: list[int] = []

    def is_announced() -> bool:
        loop.step()
        if message := subscription.get_message():
            versions.append(json.loads(message["data"])["version"])
        return loop.report.written_feeds["global"] in versions

    until(is_announced, every=0.002)


def test_nothing_is_sent_before_the_answers_that_were_left_are_read(
    quiet_loop: WritingLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, go_on = quiet_loop.writer, threading.Event()
    take = WriterThread._take

    def wait(thread: WriterThread) -> Any:
        go_on.wait(20.0)
        return take(thread)

    monkeypatch.setattr(WriterThread, "_take", wait)
    writer.request_feeds()  # ends the wait that the thread is in
    until(lambda: not writer._using.locked() and writer._feeds_wanted_s > time.monotonic())
    quiet_loop.set_feed("global", {"p0": 1.0})
    quiet_loop.step()
    with monkeypatch.context() as patch:
        patch.setattr(BatchWriter, "has_answers", lambda *_: False)
        writer.begin()
    assert writer._left is not None
    writer._hand_over(WriteReport(), "")  # as where the thread's turn before ends only now
    assert not writer.is_idle
    quiet_loop.set_feed("global", {"p0": 2.0})
    quiet_loop.step()
    assert writer._sent is None
    go_on.set()
    quiet_loop.settle()
    assert sum(batch.unwritten for batch in quiet_loop.report.finished) == 0
