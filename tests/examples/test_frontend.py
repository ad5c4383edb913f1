"""The frontend examples against a real Redis, filled by the engine's own writer.

They run under an account that may read `feed:*` alone, as the shipped ACL has it.
"""

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from random import Random
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from builders.commands import CommandTopics
from builders.examples import EXAMPLES, load_example
from builders.shown_arms import run_experiment
from builders.typescript_frontend import typescript_frontend
from builders.waiting import in_background, now_ms
from builders.written_redis import WrittenRedis
from feedmill.deploy.local import StackAddress
from feedmill.experiments.assignment import arm_of

pytestmark = pytest.mark.stack

EXAMPLE = EXAMPLES / "frontend.py"


@pytest.fixture(params=("python", "typescript"))
def frontend(request: pytest.FixtureRequest, url: str) -> Iterator[Any]:
    """The example in both languages: what holds for one holds for the other."""
    if request.param == "typescript":
        with typescript_frontend(url) as frontend:
            yield frontend
    else:
        yield request.getfixturevalue("python_frontend")


@pytest.fixture
def python_frontend(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_example("frontend", monkeypatch)


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
    frontend: Any, client: redis.Redis, writer: WrittenRedis, prefix: str
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
    frontend: Any, client: redis.Redis, writer: WrittenRedis, prefix: str
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


def scrolled(pages: Any, size: int, user_id: str | None = None) -> list[str]:
    """All posts of a reader who scrolls to the end."""
    read: list[str] = []
    cursor = None
    while True:
        page = pages.page("global", size, cursor, user_id)
        assert page.first == len(read)
        read += page.post_ids
        cursor = page.next_cursor
        if cursor is None:
            return read


def test_no_post_comes_twice_or_is_skipped_while_the_ranking_moves(
    frontend: Any, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    random, pages = Random(4), frontend.Pages(client, prefix)
    assert pages.page("global") is None
    scores = {f"p{i:03}": float(i) for i in range(120)}
    hidden: set[str] = set()
    writer.feed("global", scores)
    read, cursor = list[str](), None
    for turn in range(20):
        page = frontend.Pages(client, prefix).page("global", 7, cursor)  # any replica goes on
        assert not hidden & set(page.post_ids)
        read += page.post_ids
        cursor = page.next_cursor
        if cursor is None:
            break
        scores = {name: score + random.gauss(0, 40) for name, score in scores.items()}
        for gone in random.sample(sorted(scores), 2):
            del scores[gone]
            hidden.add(gone)
        scores[f"new{turn}"] = random.uniform(0, 150)
        writer.feed("global", scores)
    assert cursor is None
    assert len(read) == len(set(read))
    assert set(scores) <= set(read)
    assert scrolled(pages, 50) == sorted(scores, key=lambda name: -scores[name])


def test_a_page_says_that_the_feed_is_stale(
    frontend: Any, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    writer.feed("global", {"a": 2.0, "b": 1.0})
    assert not frontend.Pages(client, prefix).page("global").stale
    writer.feed("global", {"a": 1.0, "b": 2.0}, fresh_until_ms=now_ms() - 1)
    page = frontend.Pages(client, prefix).page("global")
    assert (page.stale, page.post_ids) == (True, ("b", "a"))


def test_what_is_no_cursor_gives_the_first_page(
    frontend: Any, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    writer.feed("global", {"a": 2.0, "b": 1.0})
    pages = frontend.Pages(client, prefix)
    too_long = frontend.cursor_of([frontend.hash_of("a")] * 1001)
    for cursor in ("", "17-50", "%%%", "ä", "bnVsbA==", "e30=", too_long):
        assert pages.page("global", 50, cursor).post_ids == ("a", "b")


# --- arms -----------------------------------------------------------------------------------


def test_each_reader_gets_the_list_of_their_arm_and_the_exposure_is_sent_first(
    frontend: Any, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    run_experiment(writer, traffic=8_000)
    version = int(writer.client.hget(f"{prefix}feed:{{global}}:info", "version") or 0)
    said: list[dict[str, Any]] = []
    pages = frontend.Pages(client, prefix, said.append)
    arms = [("control", 5000), ("upside-down", 5000)]
    up, down = [f"p{i}" for i in reversed(range(10))], [f"p{i}" for i in range(10)]
    found = set()
    for user in (f"user-{n}" for n in range(50)):
        began_ms = now_ms()
        read = scrolled(pages, 4, user)
        arm = arm_of("s", "e", user, 8_000, arms)
        found.add(arm)
        assert read == (down if arm == "upside-down" else up)
        exposures, said[:] = list(said), []
        if arm is None:
            assert exposures == []
            continue
        times = [one.pop("at_ms") for one in exposures]
        assert began_ms <= times[0] <= times[-1] <= now_ms()
        assert exposures == [
            {
                "user_id": user,
                "experiment": "e",
                "arm": arm,
                "feed": "global",
                "version": 77 if arm == "upside-down" else version,
                "first": first,
                "count": 4,
            }
            for first in (0, 4, 8)
        ]
    assert found == {None, "control", "upside-down"}
    # Whoever is not known, and a frontend that cannot say what it shows, get the feed itself.
    assert scrolled(pages, 4) == scrolled(frontend.Pages(client, prefix), 4, "user-0") == up
    assert said == []


def test_where_the_list_of_an_arm_is_missing_the_control_is_served_and_said(
    frontend: Any, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    run_experiment(writer)
    arms = [("control", 5000), ("upside-down", 5000)]
    user = next(
        one
        for one in (f"user-{n}" for n in itertools.count())
        if arm_of("s", "e", one, 10_000, arms) == "upside-down"
    )
    said: list[dict[str, Any]] = []
    pages = frontend.Pages(client, prefix, said.append)
    first = pages.page("global", 4, None, user)
    assert (first.post_ids, "served" in said[0]) == (("p0", "p1", "p2", "p3"), False)
    of_arm = f"{prefix}feed:{{global}}:arm:e.upside-down"
    writer.client.delete(of_arm, f"{of_arm}:info")
    second = pages.page("global", 4, first.next_cursor, user)
    assert second.post_ids == ("p9", "p8", "p7", "p6")
    assert (said[1]["arm"], said[1]["served"]) == ("upside-down", "control")
    # And once the experiment is over, without an exposure.
    writer.client.hdel(f"{prefix}feed:{{global}}:info", "experiment")
    third = pages.page("global", 4, second.next_cursor, user)
    assert (third.post_ids, third.next_cursor) == (("p5", "p4"), None)
    assert len(said) == 2


def test_its_exposures_reach_kafka(
    url: str, writer: WrittenRedis, prefix: str, topics: CommandTopics, stack: StackAddress
) -> None:
    topics.make("exposures")
    run_experiment(writer)
    command = [sys.executable, str(EXAMPLE), "--redis", url, "--redis-prefix", prefix]
    command += ["--kafka", stack.kafka, "--topic", f"{prefix}exposures", "--user", "bob"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    [record] = topics.read("exposures")
    exposure = json.loads(record.value or b"")
    assert (record.key, exposure["user_id"]) == (b"bob", "bob")
    first = {"control": "p9", "upside-down": "p0"}[exposure["arm"]]
    assert done.stdout.splitlines()[:2] == [f"version {exposure['version']}", f"   1 {first}"]


def test_changes_are_announced(
    python_frontend: ModuleType, client: redis.Redis, writer: WrittenRedis, prefix: str
) -> None:
    changes = python_frontend.changes(client, "global", prefix, 10.0)
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
