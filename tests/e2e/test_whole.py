"""The main job, seen from outside: Kafka's own tools in, Redis's own tools out."""

import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from builders.engine import STAGES, Engine
from builders.engine_topics import Json
from builders.waiting import now_ms, until
from feedmill.deploy.local import kafka_tool, redis_cli

pytestmark = pytest.mark.stack

POSTS = 150


def feedmill(engine: Engine, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from feedmill.cli.main import main; main()", *words]
    return subprocess.run(
        command,
        env=engine.environment(),
        cwd=engine.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_post_of_kafkas_console_producer_shows_in_the_feed(whole_engine: Engine) -> None:
    engine = whole_engine
    value = {
        "post_id": "console-1",
        "author_id": "console",
        "created_at_ms": now_ms(),
        "text": "A quiet walk along the river before breakfast",
    }
    command = kafka_tool(
        "org.apache.kafka.tools.ConsoleProducer",
        *("--bootstrap-server", engine.kafka, "--topic", engine.topic("posts")),
        *("--reader-property", "parse.key=true", "--reader-property", "key.separator=\t"),
    )
    line = f"console-1\t{json.dumps(value)}\n"
    subprocess.run(command, input=line, text=True, timeout=60, check=True, capture_output=True)
    key = f"{engine.prefix}feed:{{global}}"
    read = [*redis_cli(), "-u", engine.redis_url, "ZRANGE", key, "0", "-1", "REV", "WITHSCORES"]

    def shown() -> list[str]:
        out = subprocess.run(read, capture_output=True, text=True, timeout=10, check=True).stdout
        return out.split() if "console-1" in out.split() else []

    until(shown, 20)
    until(lambda: {"quality", "engagement"} <= engine.truth("console-1").keys(), 20)

    def alike() -> bool:
        lines = shown()
        read = dict(zip(lines[::2], map(float, lines[1::2]), strict=True))
        return read["console-1"] == dict(engine.feed()[0])["console-1"]

    until(alike, 10)


def test_every_post_of_a_replay_is_decided(whole_engine: Engine) -> None:
    engine = whole_engine
    before, dead_letters = set(engine.truths()), set(engine.dead_letters())
    # Faster than life: the last readers take half a minute otherwise.
    pace = ("--rate", "20", "--speed", "20")
    done = feedmill(engine, "replay", "demo", "--posts", str(POSTS), *pace, "--json")
    assert done.returncode == 0, done.stderr
    summary: Json = json.loads(done.stdout)
    assert (summary["posts"], summary["failed"]) == (POSTS, 0)

    def decisions() -> Counter[str]:
        truths = engine.truths()
        return Counter(truths[post]["decision"] for post in truths.keys() - before)

    def all_decided() -> bool:
        found = decisions()
        return found.total() == POSTS and not found["hold"]

    until(all_decided, 30, every=0.5)
    found = decisions()
    assert found.total() == POSTS == sum(found[d] for d in ("show", "demote", "hide", "hold"))
    assert found["show"] > 0.7 * POSTS
    assert set(engine.dead_letters()) == dead_letters
    until(lambda: ranked_like_its_info(engine), 20, every=1)
    assert engine.complaints() == []


def ranked_like_its_info(engine: Engine) -> bool:
    try:
        return engine.check_feed() > POSTS / 2
    except AssertionError:
        return False


def test_config_set_tells_how_each_instance_took_it(whole_engine: Engine) -> None:
    engine = whole_engine
    done = feedmill(engine, "config", "set", "weights", "alpha=0.3", "beta=0.7", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    answers = json.loads(done.stdout)["instances"]
    assert sorted(answer["instance"].split("/")[0] for answer in answers) == sorted(STAGES)
    assert {answer["state"] for answer in answers} == {"applied"}
    assert all(isinstance(answer["ms"], int) for answer in answers)
    plain = feedmill(engine, "config", "set", "weights", "alpha=0.6", "beta=0.4")
    assert plain.returncode == 0, plain.stdout + plain.stderr
    applied = re.findall(r"^  applied +(\w+)/\S+  \d+ ms$", plain.stdout, re.M)
    assert sorted(applied) == sorted(STAGES)
    weights = json.loads(engine.feed()[1]["weights"])
    assert (weights["quality"], weights["engagement"]) == (0.6, 0.4)
    refused = feedmill(engine, "config", "set", "weights", "alpha=-1")
    assert refused.returncode == 1 and "quality" in refused.stderr
    assert json.loads(engine.feed()[1]["weights"]) == weights
