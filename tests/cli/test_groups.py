"""`feedmill groups` beside a plain client that is a member of the group `worker`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from builders.commands import Run
from builders.kafka_log import KafkaLog, until
from feedmill.deploy.local import StackAddress

COUNTED = {"engagements:0": 0, "engagements:1": 0}


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    """Two partitions with 30 posts, of which the group has read the first five of each."""
    log = KafkaLog.created(stack.kafka, prefix, ranks=True)
    log.produce("posts", [(f"p{i}".encode(), b"x") for i in range(30)])
    consumer = consumer_of(log)
    for name, offset in (("posts", 5), ("engagements", 0)):
        at = [TopicPartition(log.environment.topic(name), p, offset) for p in (0, 1)]
        consumer.commit(offsets=at, asynchronous=False)
    consumer.close()
    return log


def consumer_of(log: KafkaLog) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": log.environment.kafka,
            "group.id": log.environment.group("worker"),
            "client.id": "ann",
            "enable.auto.commit": False,
        }
    )


@contextmanager
def member(log: KafkaLog) -> Iterator[None]:
    """A member as a whole worker is: it reads engagements beside its posts."""
    consumer = consumer_of(log)
    consumer.subscribe([log.environment.topic(name) for name in ("posts", "feed-shards")])
    until(lambda: len(consumer.assignment()) == 2 + 64, lambda: consumer.poll(0.1))
    yield
    consumer.close()


def described(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("groups describe --json").output)
    return found


def offsets(run: Run) -> dict[str, int | None]:
    return {one["partition"]: one["offset"] for one in described(run)["partitions"]}


def test_members_partitions_offsets_and_lag_are_shown(run: Run, kafka: KafkaLog) -> None:
    with member(kafka):
        (listed,) = json.loads(run("groups list --json").output)
        found = described(run)
        text = run("groups describe").output
    assert listed == {
        "group": "worker", "state": "Stable", "members": 1, "partitions": 4, "lag": 20
    }  # fmt: skip
    (only,) = found["members"]
    assert only["member"] == "ann" and only["posts"] == only["engagements"] == [0, 1]
    assert only["feed-shards"] == [*range(64)]
    places = {one["partition"]: one for one in found["partitions"]}
    assert [*places] == ["engagements:0", "engagements:1", "posts:0", "posts:1"]
    assert all(one["member"] == "ann" for one in places.values())
    of_posts = [places["posts:0"], places["posts:1"]]
    assert sum(one["end"] for one in of_posts) == 30
    assert all(one["lag"] == one["end"] - 5 and one["offset"] == 5 for one in of_posts)
    assert places["engagements:0"]["offset"] == places["engagements:0"]["lag"] == 0
    assert "ann" in text and "0-1" in text and "0-63" in text and "posts:1" in text


def test_offsets_are_set_while_no_worker_runs(run: Run, kafka: KafkaLog) -> None:
    with member(kafka):
        refused = run("groups reset-offsets worker posts --to earliest --by ann")
    assert refused.exit_code == 1 and "has 1 members: stop all workers first" in refused.output
    dry = run("groups reset-offsets worker posts:1 --to 7 --dry-run")
    assert dry.output == "posts[1]: 5 -> 7\nnothing was changed\n"
    assert offsets(run) == {**COUNTED, "posts:0": 5, "posts:1": 5}
    assert run("groups reset-offsets worker posts:1 --to 7 --by ann").exit_code == 0
    assert offsets(run) == {**COUNTED, "posts:0": 5, "posts:1": 7}
    assert run("groups reset-offsets worker posts engagements --to latest").exit_code == 0
    ends = {one["partition"]: one["end"] for one in described(run)["partitions"]}
    assert offsets(run) == ends and sum(one["lag"] for one in described(run)["partitions"]) == 0
    assert run("groups reset-offsets worker posts:0 --to earliest").exit_code == 0
    assert offsets(run) == {**ends, "posts:0": 0}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("wroker posts:1 --to 7", "has no group"),
        ("worker posts:7 --to earliest", "has no partition"),
        ("worker post --to earliest", "has no topic"),
        ("worker posts:one --to earliest", "expected TOPIC or TOPIC:N"),
        ("worker posts:1 --to 700", "got --to 700; earliest and latest stand for these two"),
        ("worker posts --to 3", "is the offset of one partition, got 2"),
        ("worker config:0 --to latest", "expected one of posts, engagements"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(
    run: Run, kafka: KafkaLog, line: str, reason: str
) -> None:
    refused = run(f"groups reset-offsets {line}")
    assert refused.exit_code == 1 and reason in refused.output, refused.output
    assert offsets(run) == {**COUNTED, "posts:0": 5, "posts:1": 5}


def test_where_no_worker_has_run_there_is_no_group(
    run: Run, stack: StackAddress, prefix: str
) -> None:
    KafkaLog.created(stack.kafka, prefix)
    assert "no worker has run yet" in run("groups list").output
    assert run("groups list --json").output == "[]\n"
