"""The example of a signal of one's own beside a fused worker: it ranks, heals and stays alive."""

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from builders.engine import WORKER, Engine, Json, Worker
from builders.engine_topics import post_of
from builders.waiting import now_ms, until
from feedmill.streams.kafka.topic_table import EVENT_BYTES

pytestmark = pytest.mark.stack

EXAMPLE = Path(__file__).parents[2] / "examples" / "novelty_signal.py"
NOVELTY = "novelty"


@pytest.fixture(scope="module")
def engine(start_shared_engine: Any) -> Engine:
    """A worker that reads the signal, shared by the tests; each starts an example of its own."""
    engine: Engine = start_shared_engine(WORKER, signals="novelty:objective")
    return engine


@pytest.fixture
def example(engine: Engine) -> Iterator[Worker]:
    """The example, which has answered what was there before."""
    worker = start_example(engine)
    engine.wait_ready(NOVELTY)
    yield worker
    end_example(engine)


def end_example(engine: Engine) -> None:
    """End the example that runs, whichever it is."""
    if engine.workers[NOVELTY].process.poll() is None:
        engine.workers[NOVELTY].stop()


def answered(engine: Engine, tag: str) -> set[str]:
    """The posts with this tag that have a signal."""
    return {name for name in engine.latest("signals.novelty") if name.startswith(tag)}


def start_example(engine: Engine) -> Worker:
    path = engine.folder / "novelty.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), "worker", "-l", "info"],
            env=engine.environment(),
            cwd=engine.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    worker = engine.workers[NOVELTY] = Worker(NOVELTY, NOVELTY, process, path)
    return worker


def novelty_of(engine: Engine, post_id: str) -> float | None:
    value: float | None = engine.truth(post_id).get(NOVELTY, {}).get("value")
    return value


def beat_of(engine: Engine) -> Json:
    pid = engine.workers[NOVELTY].pid
    return next(beat for beat in engine.instances().values() if beat["pid"] == pid)


@contextlib.contextmanager
def refused_by_kafka(engine: Engine) -> Iterator[None]:
    """Have the broker refuse every signal of the example."""
    name = engine.topic("signals.novelty")
    settings = {"max.message.bytes": "20"}
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=engine.kafka)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, settings)])
        try:
            yield
        finally:
            settings["max.message.bytes"] = str(EVENT_BYTES)
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, settings)])


def test_a_signal_of_ones_own_ranks_a_feed(engine: Engine) -> None:
    first = engine.post("first", "a heron stood by the old mill this morning")
    example = start_example(engine)
    engine.wait_ready(NOVELTY)
    until(lambda: novelty_of(engine, "first") == 1.0)
    engine.post("copy", "A heron stood by the old mill this morning!")
    until(lambda: novelty_of(engine, "copy") == 0.0)
    engine.post("partly", "a heron stood by the new bridge this evening")
    until(lambda: 0.0 < (novelty_of(engine, "partly") or 0.0) < 1.0)
    stored = engine.latest("signals.novelty")["first"]
    assert (stored["post_offset"], stored["model"], stored["version"]) == (first, "word-pairs", "1")
    engine.wait_decided(["first", "copy", "partly"])

    # Everything else counts nothing: the feed follows the signal alone.
    offset = engine.set("weights", {"quality": 0.0, "engagement": 0.0, NOVELTY: 1.0})
    engine.wait_applied(offset)
    until(lambda: engine.order()[:2] == ["first", "partly"])
    engine.check_feed()
    # Its heartbeats count: without them no feed that weighs it would be renewed.
    fresh_until = int(engine.feed()[1]["fresh_until_ms"])
    until(lambda: int(engine.feed()[1]["fresh_until_ms"]) > fresh_until)

    # An edit is answered again, about its own version; a deletion removes the signal.
    edited = engine.post("copy", "nobody has ever written down these seven words")
    until(lambda: engine.order()[0] == "copy")
    assert engine.latest("signals.novelty")["copy"]["post_offset"] == edited
    engine.send("posts", "first", None).get(10)
    engine.send("posts", "bad", b"no post").get(10)
    engine.post("last", "these words come after the bad record")
    until(lambda: novelty_of(engine, "last") is not None)
    assert set(engine.latest("signals.novelty")) == {"copy", "partly", "last"}
    until(lambda: len(engine.dead_letters()) == 1)

    example.stop()
    assert f"{NOVELTY}/" not in "".join(engine.instances())
    assert engine.complaints() == []


def test_what_a_killed_app_did_not_answer_is_answered_later(
    engine: Engine, example: Worker
) -> None:
    ids = [f"killed-{i}" for i in range(400)]
    engine.posts(post_of(post_id, f"a story about {post_id} and no other") for post_id in ids[:200])
    until(lambda: len(answered(engine, "killed-")) > 20)
    example.kill()
    engine.posts(post_of(post_id, f"a story about {post_id} and no other") for post_id in ids[200:])
    start_example(engine)
    until(lambda: answered(engine, "killed-") == set(ids), 60, every=0.5)
    lettered = [letter["key"] for letter in engine.dead_letters().values()]
    assert not [key for key in lettered if key.startswith(b"killed-")]


def test_a_signal_that_kafka_refuses_ends_the_app_before_its_post_counts(
    engine: Engine, example: Worker
) -> None:
    posts: list[str] = []

    def has_ended() -> bool:
        """Whether the app has ended; the broker takes the setting a moment after it says so."""
        posts.append(f"refused-{len(posts)}")
        engine.post(posts[-1], f"a post that has no answer yet, the {len(posts)}th")
        return example.process.poll() is not None

    with refused_by_kafka(engine):
        until(has_ended, 60, every=0.5)
    assert example.process.returncode != 0
    # The app commits at its end: what it had not written must not be among it.
    start_example(engine)
    until(lambda: answered(engine, "refused-") == set(posts))


def test_posts_in_transactions_are_answered_once_committed(engine: Engine, example: Worker) -> None:
    producer = Producer(
        {
            "bootstrap.servers": engine.kafka,
            "transactional.id": f"{engine.prefix}{uuid.uuid4()}",
            "partitioner": "murmur2_random",
        }
    )
    producer.init_transactions(30)

    def write(name: str, *, commit: bool) -> None:
        producer.begin_transaction()
        value = json.dumps(post_of(name, f"{name} has words that no other has"))
        producer.produce(engine.topic("posts"), value, name)
        producer.flush(30)
        (producer.commit_transaction if commit else producer.abort_transaction)(30)

    for i in range(21):
        write(f"within-{i}", commit=i != 20)
    wanted = {f"within-{i}" for i in range(20)}
    until(lambda: answered(engine, "within-") == wanted, 60)
    # A marker at the end of a partition is no lag.
    written_ms = now_ms()
    until(lambda: (beat := beat_of(engine))["at_ms"] > written_ms and beat["lag"] == 0)

    # Each partition ends with a marker that no record follows: a restart is ready all the same.
    example.stop()
    start_example(engine)
    engine.wait_ready(NOVELTY)
    write("within-last", commit=True)
    until(lambda: answered(engine, "within-") == {*wanted, "within-last"})
