"""The filters in a worker on a real Kafka: rules, campaigns and the guard, over restarts too."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builders.kafka_log import KafkaLog, until
from feedmill.deploy.local import StackAddress
from feedmill.streams.settings.environment import environment_variables

RULES = {"promotion": {"verdict": "hide", "phrases": ["garden party"]}}
WORDS = [line.split()[0] for line in (__doc__ or "").splitlines() if line]


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix, session_timeout_ms=6000)


@contextmanager
def running(kafka: KafkaLog, folder: Path, name: str, instance: str = "one") -> Iterator[None]:
    """One filter as a process, stopped as an orchestrator would."""
    log = folder / f"{instance}.log"
    env = {**os.environ, **environment_variables(kafka.environment)}
    env |= {"FEEDMILL_INSTANCE": instance, "FEEDMILL_PORT": "0"}
    command = [sys.executable, "-m", "feedmill.streams.stages.worker_process", name]
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        yield
        process.terminate()
        assert process.wait(10) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def post(post_id: str, text: str, **more: Any) -> tuple[bytes, bytes]:
    event = {"post_id": post_id, "author_id": f"a-{post_id}", "created_at_ms": 1, "text": text}
    return post_id.encode(), json.dumps(event | more).encode()


def signals(kafka: KafkaLog, name: str) -> dict[str, dict[str, Any]]:
    """What holds of each post."""
    found = {m.key().decode(): m.value() for m in kafka.read(f"signals.{name}")}
    return {key: json.loads(value) for key, value in found.items() if value}


def wait_for(
    kafka: KafkaLog, name: str, condition: Callable[[dict[str, dict[str, Any]]], bool]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}

    def holds() -> bool:
        found.clear()
        found.update(signals(kafka, name))
        return condition(found)

    until(holds, lambda: time.sleep(0.1))
    return found


def by_rule(found: dict[str, dict[str, Any]]) -> set[str]:
    return {key for key, signal in found.items() if signal["model"] == "rule"}


def test_rules_that_are_set_and_removed_change_signals_of_earlier_posts(
    kafka: KafkaLog, tmp_path: Path
) -> None:
    hit = {f"p{i}" for i in range(0, 300, 30)}
    texts = {
        f"p{i}": "The garden party is on" if f"p{i}" in hit else f"A walk {i}" for i in range(300)
    }
    with running(kafka, tmp_path, "nsfw"):
        kafka.produce("posts", [post(key, text) for key, text in texts.items()])
        before = wait_for(kafka, "nsfw", lambda found: len(found) == 300)
        assert not by_rule(before)
        kafka.produce("config", [(b"rules/nsfw", json.dumps({"value": RULES}).encode())])
        # Posts keep coming while the earlier ones are searched.
        kafka.produce("posts", [post(f"q{i}", "Another garden party") for i in range(50)])
        later = {f"q{i}" for i in range(50)}
        found = wait_for(kafka, "nsfw", lambda found: by_rule(found) == hit | later)
        assert all(found[key]["value"] == 1.0 and found[key]["revision"] > 0 for key in hit)
    # A change while no worker is there is made up for.
    kafka.produce("config", [(b"rules/nsfw", None)])
    with running(kafka, tmp_path, "nsfw"):
        after = wait_for(kafka, "nsfw", lambda found: len(found) == 350 and not by_rule(found))
    assert {key: after[key]["value"] for key in hit} == {key: before[key]["value"] for key in hit}
    assert all(after[key]["revision"] > found[key]["revision"] for key in hit)


def test_a_campaign_is_raised_and_again_after_a_restart(kafka: KafkaLog, tmp_path: Path) -> None:
    copy = "Our new shop has wonderful shoes for everyone who comes today, they cost little {}"
    first = [post(f"c{i}", copy.format(f"friend{i}")) for i in range(12)]
    more = [post(f"d{i}", copy.format(f"neighbour{i}")) for i in range(3)]

    def raised(found: dict[str, dict[str, Any]]) -> set[str]:
        return {key for key, s in found.items() if "copy of" in s.get("reason", "")}

    with running(kafka, tmp_path, "spam"):
        for one in first:
            kafka.produce("posts", [one])
        found = wait_for(kafka, "spam", lambda found: len(found) == 12)
        assert {"c9", "c10", "c11"} <= raised(found)
        assert not {"c0", "c1", "c2"} & raised(found)
    with running(kafka, tmp_path, "spam"):
        for one in more:
            kafka.produce("posts", [one])
        found = wait_for(kafka, "spam", lambda found: len(found) == 15)
    assert {"d0", "d1", "d2"} <= raised(found)
    assert found["d2"]["reason"].startswith("copy of 14 posts by 15 authors")


def test_two_workers_see_the_campaign_in_all_partitions(kafka: KafkaLog, tmp_path: Path) -> None:
    copy = "Everybody at the market talks about this remarkable machine which cleans floors {}"
    with running(kafka, tmp_path, "spam"), running(kafka, tmp_path, "spam", "two"):
        # The second one joins while posts come.
        for i in range(40):
            kafka.produce("posts", [post(f"c{i}", copy.format(f"place{i}"))])
            time.sleep(0.1)
        found = wait_for(kafka, "spam", lambda found: len(found) == 40)
    copies = {key: s.get("reason", "") for key, s in found.items()}
    assert copies["c39"].startswith("copy of 39 posts")
    assert copies["c38"].startswith("copy of 38 posts")


def test_the_guard_lowers_what_a_restart_finds_over_the_cap(
    kafka: KafkaLog, tmp_path: Path
) -> None:
    gates = {"nsfw": {"hide_at": 0.5, "demote_at": 0.4}}
    kafka.produce("config", [(b"gates", json.dumps({"value": gates}).encode())])
    bad = "Free hot porn videos, naked girls fuck, xxx sex cam https://pornhub.com/x"

    def posts(name: str, count: int) -> list[tuple[bytes, bytes]]:
        dice = random.Random(name)
        return [
            post(
                f"{name}{i}",
                bad if i % 3 == 0 else " ".join(dice.choices(WORDS, k=8)),
                communities=["allotments"],
            )
            for i in range(count)
        ]

    with running(kafka, tmp_path, "nsfw"):
        kafka.produce("posts", posts("a", 900))
        wait_for(kafka, "nsfw", lambda found: len(found) == 900)
    with running(kafka, tmp_path, "nsfw"):
        kafka.produce("posts", posts("b", 30))
        found = wait_for(kafka, "nsfw", lambda found: len(found) == 930)
    for i in range(0, 30, 3):
        assert found[f"b{i}"]["reason"].startswith("capped: community:allotments")
        assert found[f"b{i}"]["value"] < 0.5
