"""The main job, seen from outside: Kafka's own tools in, Redis's own tools out."""

import json
import re
import subprocess
from collections import Counter
from typing import Any

import pytest

from builders.engine import STAGES, WORKER, Engine
from builders.engine_topics import Json, post_of
from builders.recorded_engine import RECORDED, recorded_posts, settled
from builders.waiting import until
from feedmill.deploy.local import kafka_tool, redis_cli

pytestmark = pytest.mark.stack

POSTS = 150
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def engine(start_shared_engine: Any) -> Engine:
    """A worker of all stages with their shipped models; the tests kill nothing."""
    engine: Engine = start_shared_engine(WORKER)
    return engine


def test_a_post_of_kafkas_console_producer_shows_in_the_feed(engine: Engine) -> None:
    value = post_of("console-1", "A quiet walk along the river before breakfast")
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

    until(shown)
    until(lambda: {"quality", "engagement"} <= engine.truth("console-1").keys())

    def alike() -> bool:
        lines = shown()
        read = dict(zip(lines[::2], map(float, lines[1::2]), strict=True))
        return read["console-1"] == dict(engine.feed()[0])["console-1"]

    until(alike)


def test_every_post_of_a_replay_is_decided(engine: Engine) -> None:
    before, dead_letters = set(engine.truths()), set(engine.dead_letters())
    # Faster than life: the last readers take half a minute otherwise.
    done = engine.feedmill(f"replay demo --posts {POSTS} --rate 20 --speed 20 --json")
    assert done.returncode == 0, done.stderr
    summary: Json = json.loads(done.stdout)
    assert (summary["posts"], summary["failed"]) == (POSTS, 0)

    def decisions() -> Counter[str]:
        truths = engine.truths()
        return Counter(truths[post]["decision"] for post in truths.keys() - before)

    def all_decided() -> bool:
        found = decisions()
        return found.total() == POSTS and not found["hold"]

    until(all_decided, 60, every=0.5)
    found = decisions()
    assert found.total() == POSTS == sum(found[d] for d in ("show", "demote", "hide", "hold"))
    assert found["show"] > 0.7 * POSTS
    assert set(engine.dead_letters()) == dead_letters
    until(engine.is_right, every=1)
    assert engine.complaints() == []


def test_config_set_tells_how_each_instance_took_it(engine: Engine) -> None:
    done = engine.feedmill("config set weights alpha=0.3 beta=0.7 --json")
    assert done.returncode == 0, done.stdout + done.stderr
    answers = json.loads(done.stdout)["instances"]
    assert sorted(answer["instance"].split("/")[0] for answer in answers) == sorted(STAGES)
    assert {answer["state"] for answer in answers} == {"applied"}
    assert all(isinstance(answer["ms"], int) for answer in answers)
    plain = engine.feedmill("config set weights alpha=0.6 beta=0.4")
    assert plain.returncode == 0, plain.stdout + plain.stderr
    applied = re.findall(r"^  applied +(\w+)/\S+  \d+ ms$", plain.stdout, re.M)
    assert sorted(applied) == sorted(STAGES)

    def weights() -> tuple[float, float]:
        shown = json.loads(engine.feed()[1]["weights"])
        return shown["quality"], shown["engagement"]

    until(lambda: weights() == (0.6, 0.4))
    refused = engine.feedmill("config set weights alpha=-1")
    assert refused.returncode == 1 and "quality" in refused.stderr
    assert weights() == (0.6, 0.4)


def test_decisions_and_scores_are_those_that_were_recorded(engine: Engine) -> None:
    """`record_engine.py` records it again; whether the feeds are right, other tests check."""
    recorded: Json = json.loads(RECORDED.read_text("utf-8"))
    with recorded_posts(engine) as sent:
        found = settled(engine, sent)
    assert list(found) == list(recorded)
    for exact in ("decisions", "models", "age_ms"):
        assert found[exact] == recorded[exact]
    assert found["values"].keys() == recorded["values"].keys()
    for post_id, values in found["values"].items():
        assert values == pytest.approx(recorded["values"][post_id], abs=TOLERANCE, rel=0), post_id
    assert list(found["scores"]) == list(recorded["scores"])
    assert found["scores"] == pytest.approx(recorded["scores"], abs=TOLERANCE, rel=0)
    assert engine.complaints() == []
