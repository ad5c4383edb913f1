"""The frontend example against a real Redis, filled by the engine's own writer.

It runs under an account that may read `feed:*` alone, as the shipped ACL has it.
"""

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from builders.waiting import in_background, now_ms
from builders.written_redis import WrittenRedis
from feedmill.deploy.local import StackAddress

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
def writer(stack: StackAddress, prefix: str) -> Iterator[WrittenRedis]:
    writer = WrittenRedis(stack.redis, prefix)
    yield writer
    writer.close()


@pytest.fixture
def url(stack: StackAddress, prefix: str, writer: WrittenRedis) -> Iterator[str]:
    """The address with an account that may read `feed:*` and hear of changes, no more."""
    name = f"{prefix}frontend"
    writer.client.acl_setuser(
        name,
        enabled=True,
        reset=True,
        reset_channels=True,
        passwords=["+secret"],
        keys=[f"{prefix}feed:*"],
        channels=[f"{prefix}feed-changes"],
        categories=["+@read", "+@connection", "+@pubsub", "+@transaction"],
    )
    at = urlsplit(stack.redis)
    yield at._replace(netloc=f"{name}:secret@{at.hostname}:{at.port}").geturl()
    writer.client.acl_deluser(name)


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(url)
    yield client
    client.close()


def test_a_feed_is_read_with_the_weights_it_was_ranked_by(
    frontend: ModuleType, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    assert frontend.read_feed(client, "global", 50, prefix) is None
    writer.set("weights", {"quality": 0.25, "engagement": 0.75})
    version = writer.feed("global", {f"p{i:03}": float(i) for i in range(120)})
    feed = frontend.read_feed(client, "global", 50, prefix)
    assert (feed.version, feed.config_offset, feed.weights["quality"]) == (version, 0, 0.25)
    assert len(feed.posts) == 50
    assert feed.posts[0] == ("p119", 119.0)
    assert not feed.stale(now_ms())
    assert feed.stale(now_ms() + 15_001)


def test_version_and_ranking_belong_together_while_it_is_rewritten(
    frontend: ModuleType, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    def rewrite(ended: threading.Event) -> dict[int, float]:
        written: dict[int, float] = {}
        while not ended.is_set():
            score = float(len(written))
            writer.set("weights", {"quality": score + 1, "engagement": 1})
            written[writer.feed("global", {"a": score, "b": -1.0})] = score
        return written

    seen: dict[int, Any] = {}
    with in_background(rewrite) as rewriting:
        while len(seen) < 10:
            feed = frontend.read_feed(client, "global", 50, prefix)
            if feed is not None:
                seen[feed.version] = feed
    written = rewriting.result()
    for version, feed in seen.items():
        assert feed.posts == (("a", written[version]), ("b", -1.0))
        assert feed.weights["quality"] == written[version] + 1


def test_pages_stay_in_the_version_they_began_with(
    frontend: ModuleType, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    pages = frontend.Pages(client, prefix, kept=2)
    assert pages.page("global") is None
    one = writer.feed("global", {f"p{i:03}": float(i) for i in range(120)})
    first = pages.page("global", 50)
    two = writer.feed("global", {f"p{i:03}": float(-i) for i in range(120)})
    second = pages.page("global", 50, first.next_cursor)
    third = pages.page("global", 50, second.next_cursor)
    assert (first.version, second.version, third.version) == (one, one, one)
    assert third.next_cursor is None
    read = first.post_ids + second.post_ids + third.post_ids
    assert read == tuple(f"p{i:03}" for i in reversed(range(120)))
    assert pages.page("global", 50).version == two
    three = writer.feed("global", {"p": 1.0})
    assert pages.page("global", 50).version == three  # the two kept ones are now 2 and 3
    forgotten = pages.page("global", 50, first.next_cursor)
    assert (forgotten.version, forgotten.post_ids) == (three, ("p",))


def test_what_is_hidden_or_deleted_leaves_the_later_pages_of_a_version(
    frontend: ModuleType, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    posts = {f"p{i}": float(i) for i in range(10)}
    pages = frontend.Pages(client, prefix)
    one = writer.feed("global", posts)
    first = pages.page("global", 4)
    assert first.post_ids == ("p9", "p8", "p7", "p6")
    for gone in ("p5", "p3", "p1", "p0"):
        del posts[gone]
    writer.feed("global", {**posts, "new": 20.0})
    second = pages.page("global", 4, first.next_cursor)
    assert (second.version, second.post_ids) == (one, ("p4", "p2"))
    third = pages.page("global", 4, second.next_cursor)
    assert (third.post_ids, third.next_cursor) == ((), None)


def test_another_replica_goes_on_where_the_page_ended(
    frontend: ModuleType, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    posts = {f"p{i}": float(i // 2) for i in range(10)}  # two of each score
    one = writer.feed("global", posts)
    replicas = [frontend.Pages(client, prefix) for _ in range(4)]
    read, cursor = [], None
    for replica in replicas:
        page = replica.page("global", 3, cursor)
        read.append(page.post_ids)
        cursor = page.next_cursor
    assert [post_id for page in read for post_id in page] == [f"p{i}" for i in range(9, -1, -1)]
    assert cursor is None
    # New posts at the top move nothing, and the cursor goes on in the newest version.
    two = writer.feed("global", {**posts, "new": 20.0, "newer": 21.0})
    begun = replicas[0].page("global", 3)
    assert begun.version == two
    cursor = frontend.Place(one, 4.0, "p8").cursor()
    page = frontend.Pages(client, prefix).page("global", 3, cursor)
    assert (page.version, page.post_ids) == (two, ("p7", "p6", "p5"))


def test_what_is_no_cursor_gives_the_first_page(
    frontend: ModuleType, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    writer.feed("global", {"a": 2.0, "b": 1.0})
    pages = frontend.Pages(client, prefix)
    for cursor in ("", "17-50", "%%%", "bnVsbA==", "e30=", "WzEsMiwzLDRd", "WyJ4IiwxLCJhIl0="):
        assert pages.page("global", 50, cursor).post_ids == ("a", "b")


def test_changes_are_announced(
    frontend: ModuleType, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    changes = frontend.changes(client, "global", prefix, 10.0)
    assert next(changes) is None
    for score in (1.0, 2.0, 3.0):
        version = writer.feed("global", {"a": score})
        assert next(change for change in changes if change is not None) == version


def test_it_runs_as_a_program(url: str, writer: WrittenRedis, prefix: str) -> None:
    version = writer.feed("global", {"a": 2.0, "b": 1.0})
    command = [sys.executable, str(EXAMPLE), "--redis", url, "--redis-prefix", prefix]
    command += ["--follow", "--for", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == [
        f"global version {version}, config offset -1",
        "   1         2.000000 a",
        "   2         1.000000 b",
    ]


def test_its_account_sees_no_signals(
    client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    writer.signals("p1")
    assert writer.client.exists(f"{prefix}signals:p1")
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.hgetall(f"{prefix}signals:p1")
