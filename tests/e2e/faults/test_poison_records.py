"""Records and batches that end other programs: empty ones, and those small until inflated."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from builders.bombs import bomb, send_batch
from builders.engine_topics import Json
from builders.fault_engine import FaultEngine
from builders.waiting import until
from chaos.peak_memory import memory_mb

# Gates and quality are written by the test, so that the worker reads their topics too.
STAGES = "engagement+combiner"
BOMBED = ("posts", "engagements", "signals.quality", "overrides")
BOMB = b"a" * 2_000_000
CUT_BYTES = 1024 * 1024
LARGE = [(topic, 0, b"bomb", BOMB) for topic in BOMBED]
# What inflates to 130 MB once; the broker keeps it as zstd whatever it was sent as.
INFLATING = (("zstd", 130_000_000), ("gzip", 130_000_000), ("snappy", 20_000_000))
MOST_GROWTH_MB = 300
At = tuple[str, int, int]  # topic, partition, offset
Record = tuple[str, int, bytes | None, bytes | None]  # topic, partition, key, value


def send(engine: FaultEngine, records: Sequence[Record]) -> set[At]:
    """Send records, compressed; where they stand."""
    producer = engine.producer_of(**{"compression.type": "gzip"})
    delivered: list[Any] = []
    for topic, partition, key, value in records:
        producer.produce(
            engine.topic(topic),
            value,
            key,
            partition,
            on_delivery=lambda error, message: delivered.append((error, message)),
        )
    assert producer.flush(30) == 0
    assert [error for error, _ in delivered if error] == []
    return {
        (m.topic().removeprefix(engine.prefix), m.partition(), m.offset()) for _, m in delivered
    }


def ranked(engine: FaultEngine, name: str) -> None:
    """Have a post in its feed with a click counted: everything goes on."""
    offset = engine.post(name)
    engine.write_signals({name: offset}, quality=0.5)
    engine.click(name)
    engine.wait_shown(name)
    until(lambda: engine.clicks()[name] == 1)


def test_each_has_a_dead_letter_and_behind_them_everything_goes_on(engine: FaultEngine) -> None:
    worker = engine.ready_worker("one", stages=STAGES)
    ranked(engine, "before")
    start_mb = memory_mb(worker.pid)
    # The other topics are compacted: Kafka refuses a record without a key there.
    (empty,) = send(engine, [("engagements", 0, None, None)])
    large = send(engine, LARGE)
    batches = [
        (topic, send_batch(engine.kafka, engine.topic(topic), 0, batch))
        for batch in [bomb(*one) for one in INFLATING]
        for topic in (*BOMBED, "config")
    ]
    ranked(engine, "behind")
    ranges = {(topic, 0, at.first): at.last for topic, at in batches if topic != "config"}
    wanted = {empty, *large, *ranges}
    until(lambda: wanted <= engine.dead_letters().keys(), every=0.5)
    letters = engine.dead_letters()
    assert letters.keys() == wanted
    assert letters[empty]["value"] is None
    for at in large:
        check_letter_of_record(letters[at])
    for at, last in ranges.items():
        check_letter_of_batch(letters[at], at[2], last)
    refused = [at.last for topic, at in batches if topic == "config"]
    until(lambda: [one["offset"] for one in refusals(engine)] == refused)
    assert "inflates" in refusals(engine)[0]["reason"]
    assert worker.process.poll() is None
    assert engine.metric(worker, "feedmill_rejected_total") == len(wanted)
    until(lambda: engine.metric(worker, "feedmill_passed_batches_total") >= len(batches))
    assert memory_mb(worker.pid) - start_mb < MOST_GROWTH_MB

    # What was read once is read again by a restore.
    engine.hide("before")
    engine.wait_gone("before")
    worker.kill()
    engine.restart(worker.name)
    engine.wait_ready()
    ranked(engine, "after")
    until(lambda: set(engine.order()) == {"behind", "after"})
    assert engine.dead_letters().keys() == wanted
    assert engine.complaints() == []


def check_letter_of_record(letter: Json) -> None:
    """The record is cut, and known by its hash."""
    assert letter["key"] == b"bomb"
    assert letter["value"] == BOMB[:CUT_BYTES]
    assert letter["size"] == str(len(BOMB))
    assert letter["sha256"] == hashlib.sha256(BOMB).hexdigest()


def check_letter_of_batch(letter: Json, first: int, last: int) -> None:
    """It stands for all records of the batch, which nobody inflated."""
    records = last - first + 1
    assert (letter["records"], letter["key"]) == (str(records), None)
    told = json.loads(letter["value"])
    assert told["ranges"] == [[first, last]]
    assert f"{records:,} records of zstd" in told["reasons"][0]["error"]


def refusals(engine: FaultEngine) -> list[Json]:
    beats = [one for one in engine.instances().values() if one["stage"] == "combiner"]
    return list(beats[0]["refused"]) if beats else []


def test_a_bomb_among_what_the_worker_wrote_itself_ends_nothing(engine: FaultEngine) -> None:
    worker = engine.ready_worker()
    sent = send(engine, LARGE)
    own = {at for at in sent if at[0] == "signals.quality"}
    engine.wait_decided({"one": engine.post("one")})
    until(lambda: sent - own <= set(engine.dead_letters()), every=0.5)
    worker.stop()
    engine.restart(worker.name)
    engine.wait_ready()
    engine.wait_decided({"two": engine.post("two")})
    until(lambda: set(engine.order()) == {"one", "two"})
    assert engine.complaints() == []
