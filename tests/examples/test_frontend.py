"""The frontend example against real Redis, filled in the shape of the contract.

It runs under an account that may read `feed:*` alone, as the shipped ACL has it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

pytestmark = pytest.mark.stack

EXAMPLE = Path(__file__).parents[2] / "examples" / "frontend.py"


@pytest.fixture(scope="module")
def frontend() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_frontend", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def writer(stack: Any, prefix: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(stack.redis)
    yield client
    for key in client.scan_iter(f"{prefix}*"):
        client.delete(key)
    client.close()


@pytest.fixture
def url(stack: Any, prefix: str, writer: redis.Redis) -> Iterator[str]:
    """The address with an account that may read `feed:*` and hear of changes, no more."""
    rules = ("on", ">secret", "resetchannels", f"~{prefix}feed:*", f"&{prefix}feed-changes")
    commands = ("+@read", "+@connection", "+@pubsub", "+@transaction")
    name = f"{prefix}frontend"
    writer.execute_command("ACL", "SETUSER", name, "reset", *rules, *commands)
    at = urlsplit(stack.redis)
    yield at._replace(netloc=f"{name}:secret@{at.hostname}:{at.port}").geturl()
    writer.execute_command("ACL", "DELUSER", name)


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(url)
    yield client
    client.close()


def write(writer: redis.Redis, prefix: str, version: int, scores: dict[str, float]) -> None:
    """As the combiner does: the feed and its `:info` at once, then the message."""
    now_ms = int(time.time() * 1000)
    key = f"{prefix}feed:{{global}}"
    weights = {"quality": version, "engagement": 1, "scale": {"quality": 1, "engagement": 10}}
    info = {
        "version": version,
        "weights": json.dumps(weights),
        "gates": "{}",
        "config_offset": 3,
        "size": 500,
        "written_at_ms": now_ms,
        "fresh_until_ms": now_ms + 15_000,
        "owner": 1,
    }
    message = {"feed": "global", "version": version, "config_offset": 3, "at_ms": now_ms}
    with writer.pipeline(transaction=True) as multi:
        multi.delete(key)
        multi.zadd(key, scores)
        multi.hset(f"{key}:info", mapping=info)
        multi.publish(f"{prefix}feed-changes", json.dumps(message))
        multi.execute()


def test_a_feed_is_read_with_the_weights_it_was_ranked_by(
    frontend: ModuleType, client: redis.Redis, writer: redis.Redis, prefix: str
) -> None:
    assert frontend.read_feed(client, "global", 50, prefix) is None
    write(writer, prefix, 1, {f"p{i:03}": float(i) for i in range(120)})
    feed = frontend.read_feed(client, "global", 50, prefix)
    assert (feed.version, feed.config_offset, feed.weights["quality"]) == (1, 3, 1)
    assert len(feed.posts) == 50
    assert feed.posts[0] == ("p119", 119.0)
    assert not feed.stale(time.time() * 1000)
    assert feed.stale(time.time() * 1000 + 15_001)


def test_version_and_ranking_belong_together_while_it_is_rewritten(
    frontend: ModuleType, client: redis.Redis, writer: redis.Redis, prefix: str
) -> None:
    write(writer, prefix, 1, {"a": 1.0, "b": 0.0})
    ended = threading.Event()

    def rewrite() -> None:
        version = 1
        while not ended.is_set():
            version += 1
            write(writer, prefix, version, {"a": float(version), "b": 0.0})

    thread = threading.Thread(target=rewrite)
    thread.start()
    seen = [frontend.read_feed(client, "global", 50, prefix) for _ in range(300)]
    ended.set()
    thread.join()
    assert len({feed.version for feed in seen}) > 10
    for feed in seen:
        assert feed.posts == (("a", float(feed.version)), ("b", 0.0))
        assert feed.weights["quality"] == feed.version


def test_pages_stay_in_the_version_they_began_with(
    frontend: ModuleType, client: redis.Redis, writer: redis.Redis, prefix: str
) -> None:
    pages = frontend.Pages(client, prefix, kept=2)
    assert pages.page("global") is None
    write(writer, prefix, 1, {f"p{i:03}": float(i) for i in range(120)})
    first = pages.page("global", 50)
    write(writer, prefix, 2, {f"p{i:03}": float(-i) for i in range(120)})
    second = pages.page("global", 50, first.next_cursor)
    third = pages.page("global", 50, second.next_cursor)
    assert (first.version, second.version, third.version) == (1, 1, 1)
    assert third.next_cursor is None
    read = first.post_ids + second.post_ids + third.post_ids
    assert read == tuple(f"p{i:03}" for i in reversed(range(120)))
    assert pages.page("global", 50).version == 2
    write(writer, prefix, 3, {"p": 1.0})
    assert pages.page("global", 50).version == 3  # the two kept ones are now 2 and 3
    forgotten = pages.page("global", 50, first.next_cursor)
    assert (forgotten.version, forgotten.post_ids) == (3, ("p",))


def test_changes_are_heard(
    frontend: ModuleType, client: redis.Redis, writer: redis.Redis, prefix: str
) -> None:
    def write_soon() -> None:
        time.sleep(0.3)
        for version in (1, 2, 3):
            write(writer, prefix, version, {"a": 1.0})

    thread = threading.Thread(target=write_soon)
    thread.start()
    assert list(frontend.changes(client, "global", prefix, 1.0)) == [None, 1, 2, 3]
    thread.join()


def test_it_runs_as_a_program(url: str, writer: redis.Redis, prefix: str) -> None:
    write(writer, prefix, 7, {"a": 2.0, "b": 1.0})
    command = [sys.executable, str(EXAMPLE), "--redis", url, "--redis-prefix", prefix]
    command += ["--follow", "--for", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == [
        "global version 7, config offset 3",
        "   1         2.000000 a",
        "   2         1.000000 b",
    ]


def test_its_account_sees_no_signals(client: redis.Redis, writer: redis.Redis, prefix: str) -> None:
    writer.hset(f"{prefix}signals:p1", "decision", "hide")
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.hgetall(f"{prefix}signals:p1")
