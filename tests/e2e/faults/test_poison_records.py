"""Records that end other programs: without key and value, or small until they are inflated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from builders.engine_topics import Json
from builders.fault_engine import FaultEngine
from builders.waiting import now_ms, until

# Gates and quality are written by the test, so that the worker reads their topics too.
STAGES = "engagement+combiner"
BOMBED = ("posts", "engagements", "signals.quality", "overrides")
BOMB = b"a" * 2_000_000
CUT_BYTES = 1024 * 1024
BOMBS = [(topic, 0, b"bomb", BOMB) for topic in BOMBED]
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
    event: Json = {"post_id": name, "user_id": "u", "kind": "click", "at_ms": now_ms()}
    engine.send("engagements", name, event).get(10)
    engine.wait_shown(name)
    until(lambda: clicks(engine, name) == 1)


def clicks(engine: FaultEngine, name: str) -> int:
    """How many clicks are counted, 0 before the first count is committed."""
    state = engine.latest("counters").get(name)
    return 0 if state is None else int(state["counters"]["counts"][1])


def test_the_worker_goes_on_and_writes_a_dead_letter_for_each(
    fault_engine: Callable[..., FaultEngine],
) -> None:
    engine = fault_engine()
    worker = engine.ready_worker(stages=STAGES)
    ranked(engine, "before")
    # The other topics are compacted: Kafka refuses a record without a key there.
    (empty,) = send(engine, [("engagements", 0, None, None)])
    sent = send(engine, BOMBS)
    ranked(engine, "between")
    wanted = sent | {empty}
    until(lambda: wanted <= set(engine.dead_letters()), every=0.5)
    letters = engine.dead_letters()
    assert set(letters) == wanted
    for at in sent:
        letter = letters[at]
        assert letter["key"] == b"bomb"
        assert letter["value"] == BOMB[:CUT_BYTES]
        assert letter["size"] == str(len(BOMB))
        assert letter["sha256"] == hashlib.sha256(BOMB).hexdigest()
    assert letters[empty]["value"] is None
    assert worker.process.poll() is None

    # What was read once is read again by a restore.
    engine.send("overrides", "post:before|*", hidden())
    engine.wait_gone("before")
    worker.stop()
    engine.restart(worker.name)
    engine.wait_ready()
    ranked(engine, "after")
    until(lambda: set(engine.order()) == {"between", "after"})
    assert set(engine.dead_letters()) == wanted
    assert engine.complaints() == []


def hidden() -> Json:
    return {"verdict": "hide", "by": "mod", "reason": "r", "at_ms": now_ms()}


def test_a_bomb_among_what_the_worker_wrote_itself_ends_nothing(
    fault_engine: Callable[..., FaultEngine],
) -> None:
    engine = fault_engine()
    worker = engine.ready_worker()
    sent = send(engine, BOMBS)
    own = {at for at in sent if at[0] == "signals.quality"}
    engine.wait_decided({"one": engine.post("one")})
    until(lambda: sent - own <= set(engine.dead_letters()), every=0.5)
    worker.stop()
    engine.restart(worker.name)
    engine.wait_ready()
    engine.wait_decided({"two": engine.post("two")})
    until(lambda: set(engine.order()) == {"one", "two"})
    assert engine.complaints() == []
