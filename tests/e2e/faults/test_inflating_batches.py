"""Batches that are small until they are inflated: behind them everything goes on, at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from builders.bombs import bomb, send_batch
from builders.engine import Worker
from builders.engine_topics import Json
from builders.fault_engine import FaultEngine
from builders.waiting import now_ms, until

# Gates and quality are written by the test, so that the worker reads their topics too.
STAGES = "engagement+combiner"
LETTERED = ("posts", "engagements", "overrides", "signals.quality")
BOMBED = (*LETTERED, "config")
MB = 1_000_000
# What inflates to 130 MB once; the broker keeps it as zstd whatever it was sent as.
BOMBS = {"zstd": bomb("zstd", 130 * MB), "gzip": bomb("gzip", 130 * MB)}
SNAPPY = bomb("snappy", 20 * MB)
MOST_GROWTH_MB = 300


def test_batches_that_inflate_are_passed_with_a_dead_letter_each(
    fault_engine: Callable[..., FaultEngine],
) -> None:
    engine = fault_engine()
    worker = engine.ready_worker("one", stages=STAGES)
    ranked(engine, "before")
    start_mb = peak_mb(worker)
    sent = [
        (topic, send_batch(engine.kafka, engine.topic(topic), 0, batch))
        for topic in BOMBED
        for batch in (*BOMBS.values(), SNAPPY)
    ]
    ranked(engine, "behind")
    wanted = {(t, 0, at.first): at.last for t, at in sent if t != "config"}
    until(lambda: wanted.keys() <= engine.dead_letters().keys(), every=0.5)
    check_letters(engine, wanted)
    refused = [at.last for topic, at in sent if topic == "config"]
    until(lambda: [one["offset"] for one in refusals(engine)] == refused)
    assert "inflates" in refusals(engine)[0]["reason"]
    assert worker.process.poll() is None
    assert engine.metric(worker, "feedmill_rejected_total") == len(wanted)
    until(lambda: engine.metric(worker, "feedmill_passed_batches_total") >= len(sent))
    assert peak_mb(worker) - start_mb < MOST_GROWTH_MB

    # Every restore meets them again.
    worker.kill()
    engine.restart(worker.name)
    engine.wait_ready()
    ranked(engine, "after")
    check_letters(engine, wanted)
    assert engine.complaints() == []


def check_letters(engine: FaultEngine, wanted: dict[tuple[str, int, int], int]) -> None:
    """The dead letters are these: by topic, partition and first offset, the last one."""
    letters = engine.dead_letters()
    assert letters.keys() == wanted.keys()
    for at, last in wanted.items():
        records = last - at[2] + 1
        assert letters[at]["records"] == str(records)
        assert letters[at]["key"] is None
        told = json.loads(letters[at]["value"])
        assert told["ranges"] == [[at[2], last]]
        assert f"{records:,} records of zstd" in told["reasons"][0]["error"]


def ranked(engine: FaultEngine, name: str) -> None:
    """Have a post in its feed with a click counted: everything goes on."""
    offset = engine.post(name)
    engine.write_signals({name: offset}, quality=0.5)
    event: Json = {"post_id": name, "user_id": "u", "kind": "click", "at_ms": now_ms()}
    engine.send("engagements", name, event).get(10)
    engine.wait_shown(name)
    until(lambda: engine.latest("counters").get(name, {}).get("counters", {}))


def refusals(engine: FaultEngine) -> list[Json]:
    beats = [one for one in engine.instances().values() if one["stage"] == "combiner"]
    return list(beats[0]["refused"]) if beats else []


def peak_mb(worker: Worker) -> float:
    text = Path(f"/proc/{worker.pid}/status").read_text("utf-8")
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", text)
    return int(found) / 1024
