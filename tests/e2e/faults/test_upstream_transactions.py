"""Producers upstream that write in transactions: markers between records hold nothing up."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from builders.engine_topics import Json
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.waiting import now_ms, until

TRANSACTIONS, ABORTED = 21, 13
Record = tuple[str, str, Json]


def post(name: str) -> Record:
    value = {"author_id": f"a-{name}", "created_at_ms": now_ms(), "text": f"A walk to {name}"}
    return "posts", name, {"post_id": name, **value}


def click(name: str, event_id: str) -> Record:
    value = {"user_id": f"u-{event_id}", "kind": "click", "at_ms": now_ms(), "event_id": event_id}
    return "engagements", name, {"post_id": name, **value}


def transaction(engine: FaultEngine, records: Sequence[Record], *, commit: bool = True) -> None:
    """Write records in one transaction of an upstream, which ends so or so."""
    producer = engine.producer_of(**{"transactional.id": engine.topic("upstream")})
    producer.init_transactions(30)
    producer.begin_transaction()
    for topic, key, value in records:
        producer.produce(engine.topic(topic), json.dumps(value), key)
    producer.flush(30)
    end: Callable[[float], Any] = (
        producer.commit_transaction if commit else producer.abort_transaction
    )
    end(30)


def clicks(engine: FaultEngine) -> dict[str, int]:
    return {p: one["counters"]["counts"][1] for p, one in engine.latest("counters").items()}


def test_a_restart_is_ready_and_aborted_records_do_not_count(engine: FaultEngine) -> None:
    names = [f"lake-{n}" for n in range(TRANSACTIONS)]
    engine.ready_worker()
    for n, name in enumerate(names):
        transaction(engine, [post(name), click(name, f"e-{n}")], commit=n != ABORTED)
    wanted = {name: 1 for n, name in enumerate(names) if n != ABORTED}
    engine.wait_decided(wanted)
    until(lambda: clicks(engine) == wanted)

    engine.workers[ALL_STAGES].stop()
    engine.restart(ALL_STAGES)
    engine.wait_ready()
    engine.send(*post("after")).get(10)
    engine.send(*click("after", "e-after")).get(10)
    wanted["after"] = 1
    until(lambda: set(engine.order()) == set(wanted))
    until(lambda: clicks(engine) == wanted)
    assert engine.truth(names[ABORTED]) == {}
