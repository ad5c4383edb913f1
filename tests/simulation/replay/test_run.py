"""`feedmill replay` against the real Kafka: what is sent is what a plain client reads."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from builders.engine_topics import Record, committed_records
from builders.waiting import until
from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.engagement import Engagement
from feedmill.events.errors import UsageError
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.simulation.replay import Counts, ReplayOptions, run_replay
from feedmill.streams.environment import Environment
from feedmill.streams.kafka import topics

pytestmark = pytest.mark.stack

PARTITIONS = 3


@pytest.fixture
def environment(stack: Any, prefix: str) -> Environment:
    environment = Environment(kafka=stack.kafka, topic_prefix=prefix)
    topics.create(stack.kafka, prefix, PARTITIONS, environment.signals.all)
    return environment


def read_all(environment: Environment, topic: str) -> list[Record]:
    return list(committed_records(environment.kafka, environment.topic(topic)))


def command(environment: Environment, *arguments: str) -> subprocess.Popen[str]:
    settings = {"FEEDMILL_KAFKA": environment.kafka}
    settings["FEEDMILL_TOPIC_PREFIX"] = environment.topic_prefix
    return subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", "replay", *arguments],
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_demo_arrives_whole_with_its_keys_partitions_and_times(
    environment: Environment,
) -> None:
    options = ReplayOptions("demo", posts=300, rate=20.0, audience=200.0, speed=10.0)
    counts = Counts()
    began_ms = time.time() * 1000
    summary = asyncio.run(run_replay(environment, options, counts=counts))
    ended_ms = time.time() * 1000
    assert summary.ended == "end"
    assert (summary.posts, summary.failed) == (300, 0)
    assert summary.acknowledged == summary.posts + summary.engagements == counts.acknowledged
    posts, engagements = (read_all(environment, t) for t in ("posts", "engagements"))
    assert (len(posts), len(engagements)) == (summary.posts, summary.engagements)
    for record in (*posts, *engagements):
        assert record.partition == partition_of(record.key, PARTITIONS)
    times = []
    for record in posts:
        post = decode_post(record.key, record.value)
        assert isinstance(post, Post)
        times.append(post.created_at_ms)
    found = [decode_engagement(record.key, record.value) for record in engagements]
    times += [event.at_ms for event in found]
    assert began_ms - 1 <= min(times) <= max(times) <= ended_ms
    assert dict(Counter(event.kind for event in found)) == summary.kinds
    assert {event.post_id for event in found} <= {record.key.decode() for record in posts}
    # 300 posts at 20 a second, ten times as fast, are 1.5 seconds.
    created = [json.loads(record.value)["created_at_ms"] for record in posts]
    assert max(created) - min(created) == pytest.approx(1495, abs=400)


def test_a_file_keeps_its_times_where_asked(environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"post_id":"a","author_id":"b","created_at_ms":1700000000005,"text":"t"}\n'
        '{"topic":"engagements","value":{"post_id":"a","user_id":"u","kind":"like",'
        '"at_ms":1700000000006}}\n'
        "broken\n"
        '{"topic":"posts","key":"a","value":null}\n'
    )
    options = ReplayOptions(str(path), keep_times=True)
    summary = asyncio.run(run_replay(environment, options))
    assert (summary.posts, summary.engagements, summary.others, summary.skipped) == (1, 1, 1, 1)
    assert summary.complaints[0].startswith("line 3: ")
    first, second = read_all(environment, "posts")
    assert decode_post(first.key, first.value) == Post("a", "b", 1_700_000_000_005, "t")
    assert (second.key, second.value) == (b"a", None)
    (like,) = read_all(environment, "engagements")
    assert decode_engagement(like.key, like.value) == Engagement(
        "a", "u", "like", 1_700_000_000_006
    )


def test_a_value_too_large_for_the_broker_is_a_failure_that_is_counted(
    environment: Environment, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    link = "x" * 5_000_000
    huge = {
        "post_id": "h",
        "author_id": "b",
        "created_at_ms": 1_700_000_000_005,
        "text": "t",
        "links": [link],
    }
    small = {"post_id": "s", "author_id": "b", "created_at_ms": 1_700_000_000_005, "text": "t"}
    path.write_text(f"{json.dumps(huge)}\n{json.dumps(small)}\n")
    process = command(environment, str(path), "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    summary = json.loads(out)
    assert (summary["posts"], summary["failed"], summary["acknowledged"]) == (2, 1, 1)
    assert "not sent" in err
    assert [record.key for record in read_all(environment, "posts")] == [b"s"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_with_the_counts(environment: Environment, number: int) -> None:
    process = command(environment, "demo", "--rate", "50", "--json")
    until(lambda: read_all(environment, "posts"))
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    summary = json.loads(out)
    assert (summary["ended"], summary["failed"]) == ("stopped", 0)
    assert summary["posts"] == len(read_all(environment, "posts"))


def test_standard_input_is_sent_as_it_comes(environment: Environment) -> None:
    process = command(environment, "-")
    assert process.stdin is not None
    process.stdin.write(
        '{"post_id":"a","author_id":"b","created_at_ms":1700000000005,"text":"t"}\n'
    )
    process.stdin.flush()
    records = until(lambda: read_all(environment, "posts"))
    assert [record.key for record in records] == [b"a"]
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.startswith("sent 1 posts, 0 engagements")


def test_a_broker_that_is_away_and_topics_that_are_missing_are_clear(
    environment: Environment,
) -> None:
    options = ReplayOptions("demo", posts=1)
    with pytest.raises(UsageError, match="feedmill local up"):
        asyncio.run(run_replay(Environment(kafka="127.0.0.1:1"), options))
    nowhere = Environment(kafka=environment.kafka, topic_prefix="nowhere.")
    with pytest.raises(UsageError, match=r"nowhere\.posts.*feedmill topics create"):
        asyncio.run(run_replay(nowhere, options))
