"""`feedmill health` against a real Kafka and Redis, with heartbeats that the tests write."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from builders.commands import CommandTopics, Run
from builders.events import heartbeat
from builders.waiting import now_ms, until
from builders.written_redis import WrittenRedis
from feedmill.cli.health import health_text
from feedmill.events.instance import Instance, LegTimes, PartitionLag
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.operations.status import installation
from feedmill.operations.status.finding import Finding
from feedmill.operations.status.health import Health, RunningWorker
from feedmill.streams.environment import read_environment
from feedmill.streams.kafka.topic_table import topic_table

STAGES = ("spam", "nsfw", "misinformation", "quality", "engagement", "combiner")
HOST = {"host": "host-1", "pid": 7}
LEGS = {"posts": {"append_to_redis": LegTimes(9.4, 45.8, 12.0)}}


@pytest.fixture
def engine(topics: CommandTopics, writer: WrittenRedis) -> CommandTopics:
    """Topics, a fresh feed in Redis, and no heartbeat."""
    topics.make(**{one.name: one.count(2) for one in topic_table(SignalNames().all)})
    writer.feed("global", {"p1": 1.0}, fresh_until_ms=now_ms() + 600_000)
    return topics


def beat(topics: CommandTopics, name: str, *partitions: int, **more: Any) -> None:
    """Write the heartbeats of a worker of all stages."""
    lags = tuple(PartitionLag(t, p, 0) for t in ("posts", "engagements") for p in partitions)
    one = heartbeat("", name, **HOST, group="worker", partitions=lags, memory_mib=180, legs=LEGS)
    build = importlib.metadata.version("feedmill")
    one = msgspec.structs.replace(one, at_ms=now_ms(), build=build)
    shards = tuple(32 * partition + n for partition in partitions for n in range(32))
    for stage in STAGES:
        said = {"shards": shards, "logs_lag": 1} if stage == "combiner" else {}
        said |= {"stage": stage, **more}
        topics.send("instances", f"{stage}/{name}", msgspec.structs.replace(one, **said))


@pytest.mark.stack
def test_a_healthy_engine_is_one_screen(run: Run, engine: CommandTopics) -> None:
    beat(engine, "one", 0)
    beat(engine, "two", 1)
    result = run("health")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("feedmill: healthy  ")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    roles = [[name, "worker", "all", "1", "32", "ready", "1"] for name in ("one", "two")]
    assert [line.split()[:7] for line in lines[3:5]] == roles
    assert lines[-2] == "posts   24.0/s  in all 9/46"
    assert lines[-1].startswith("feeds   1 fresh, 0 starting, 0 stale   redis ")


@pytest.mark.stack
def test_it_takes_the_time_from_the_newest_heartbeat_and_writes_nothing(
    run: Run, engine: CommandTopics
) -> None:
    beat(engine, "one", 0, 1)
    before = engine.read("instances")
    assert run("health").exit_code == 0
    assert engine.read("instances") == before


@pytest.mark.stack
def test_a_partition_that_nobody_reads_is_named(run: Run, engine: CommandTopics) -> None:
    beat(engine, "one", 0)
    engine.send("posts", "p1", None, partition=1)
    result = run("health --json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["healthy"] is False
    wrong = [(one["topic"], one["partitions"]) for one in found["findings"]]
    assert wrong == [("posts", [1]), ("engagements", [1]), ("feed-shards", [*range(32, 64)])]
    assert all(one["way_out"] for one in found["findings"])
    (worker,) = found["workers"]
    assert (worker["instance"], worker["memory_mib"]) == ("one", 180)
    assert (worker["shards"], worker["logs_lag"]) == ([*range(32)], 1)
    assert found["legs"]["posts"]["append_to_redis"]["p99_ms"] == 45.8


@pytest.mark.stack
def test_a_post_without_the_signal_of_a_program_is_found(
    run: Run, engine: CommandTopics, writer: WrittenRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDMILL_SIGNALS", "novelty:objective")
    # Every post that is there counts as one that came long ago.
    monkeypatch.setattr(installation, "_ANSWERED_WITHIN_MS", -60_000)
    engine.make(**{"signals.novelty": 2})
    writer.names = read_environment({"FEEDMILL_SIGNALS": "novelty:objective"}).signals
    writer.settings = Settings(writer.names)
    writer.set("weights", {"quality": 1, "engagement": 1, "novelty": 1})
    writer.feed("global", {"p1": 1.0}, fresh_until_ms=now_ms() + 600_000)
    program = heartbeat("novelty", "app", at_ms=now_ms())
    offset = engine.send("posts", "p1", {"post_id": "p1"}, partition=1)
    engine.send("instances", "novelty/app", program)
    beat(engine, "one", 0, 1)
    (wrong,) = json.loads(run("health --json").stdout)["findings"]
    assert (wrong["topic"], wrong["partitions"]) == ("signals.novelty", [1])
    assert wrong["instance"] == "app"
    answer = {"post_id": "p1", "post_offset": offset, "value": 1.0}
    engine.send("signals.novelty", "p1", answer, partition=1)
    assert run("health").exit_code == 0


@pytest.mark.stack
def test_missing_topics_and_servers_are_said_in_words(
    run: Run, topics: CommandTopics, _connects_at_once_or_never: None
) -> None:
    # With a topic of this prefix, health does not ask whether another test's prefix is meant.
    topics.make(posts=4)
    result = run("health --redis redis://127.0.0.1:1/0")
    assert result.exit_code == 1
    text = " ".join(result.output.split())
    assert "topics are missing, and no worker is ready without" in text
    assert "-> `feedmill topics create --partitions 4`" in text
    assert re.search(r"Redis at redis://127.0.0.1:1/0: Error 111 .* -> start it", text)
    result = run("health --kafka 127.0.0.1:1")
    assert result.exit_code == 1
    assert "Kafka at 127.0.0.1:1: cannot be reached" in result.output
    assert "Traceback" not in result.output


@pytest.mark.stack
def test_watch_shows_it_again_until_interrupted(run: Run, engine: CommandTopics) -> None:
    beat(engine, "one", 0, 1)
    watching = subprocess.Popen(
        [sys.executable, "-m", "feedmill.cli.main", "health", "--watch", "--json"],
        stdout=subprocess.PIPE,
        env=os.environ,
        text=True,
    )
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["healthy"] is True
    beat(engine, "one", 0, 1, ready=False, reason="Redis is away")

    def is_wrong() -> bool:
        assert watching.stdout is not None
        return json.loads(watching.stdout.readline())["healthy"] is False

    until(is_wrong)
    watching.send_signal(signal.SIGINT)
    assert watching.wait(60) == 1


# --- the screen -----------------------------------------------------------------------------


def test_what_is_wrong_stands_on_top_with_its_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    one = heartbeat("spam", "one", **HOST, ready=False, lag=1_204, at_ms=0, group="worker")

    def ready(name: str, **more: Any) -> Instance:
        return msgspec.structs.replace(one, instance=name, ready=True, lag=0, **more)

    found = Health(
        1_790_000_000_000,
        [
            Finding(
                *("wrong", "two has been silent for 40 s, and nobody reads it", "posts[2]", "go"),
                is_stale=True,
            ),
            Finding("wrong", "two versions", "model spam", "look at some of their posts"),
        ],
        [
            RunningWorker(("spam", "nsfw"), one, 900),
            RunningWorker(STAGES[:-1], ready("two"), 1_000),
            RunningWorker(STAGES[-1:], ready("three"), 1_000, (7, 9), 50),
            RunningWorker(("novelty",), ready("four", group=""), 1_000),
        ],
        {},
        {"fresh": 1, "starting": 0, "stale": 2},
        None,
    )
    assert health_text(found).splitlines() == [
        "feedmill: 1 wrong, 1 to look at  2026-09-21 14:13:20Z",
        "",
        "WRONG  posts[2]: two has been silent for 40 s, and nobody",
        "       reads it",
        "       -> go",
        "look   model spam: two versions",
        "       -> look at some of their posts",
        "",
        "instance  role    stages     partitions  shards  state        lag  MiB  seen",
        "one       judge   spam nsfw           0          not ready  1,204        1 s",
        "two       judge   all                 0          ready          0        1 s",
        "three     ranker  combiner                    2  ready         50        1 s",
        "four              novelty                        ready          0        1 s",
        "",
        "feeds   1 fresh, 0 starting, 2 stale",
    ]
