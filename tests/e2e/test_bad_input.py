"""However much junk arrives: each bad record is a dead letter, each good one is ranked."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from kafka.partitioner.default import murmur2

from builders.engine import STAGES, WORKER, Engine
from builders.engine_topics import PARTITIONS, Json
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack

BAD, GOOD, LARGE = 2000, 40, 5
Raw = tuple[bytes | None, bytes | None, int | None]  # key, value, partition


def post(n: int) -> tuple[str, Json]:
    text = f"How to keep bees, part {n}"
    return f"bees-{n}", {"author_id": f"a{n}", "created_at_ms": now_ms(), "text": text}


def engagement(n: int) -> tuple[str, Json]:
    return f"bees-{n % GOOD}", {"user_id": f"u{n}", "kind": "click", "at_ms": now_ms()}


def signal(n: int) -> tuple[str, Json]:
    of_version = {"post_offset": 2**40 + n, "model": "m", "version": "v", "at_ms": now_ms()}
    return f"unknown-{n}", {"value": 0.5, **of_version}


GOOD_RECORDS = {"posts": post, "engagements": engagement, "signals.novelty": signal}
REQUIRED = {"posts": "text", "engagements": "kind", "signals.novelty": "version"}
TIMES = {"posts": "created_at_ms", "engagements": "at_ms", "signals.novelty": "at_ms"}


def bad_events(topic: str) -> Iterator[Raw]:
    """Ten ways to break the contract, over and over, each with an id of its own."""
    time_field, required = TIMES[topic], REQUIRED[topic]
    for n in itertools.count(10_000):
        key, value = GOOD_RECORDS[topic](n)
        key = f"bad-{n}"
        value["post_id"] = key
        plain, raw_key = json.dumps(value).encode(), key.encode()
        right = (murmur2(raw_key) & 0x7FFFFFFF) % PARTITIONS
        yield raw_key, plain.replace(b'"bad', b'"\xff\xfe'), None
        yield raw_key, json.dumps({**value, required: ["no", "text"]}).encode(), None
        yield raw_key, json.dumps({k: v for k, v in value.items() if k != required}).encode(), None
        yield f"other-{n}".encode(), plain, None
        yield raw_key, plain, (right + 1) % PARTITIONS
        yield raw_key, json.dumps({**value, time_field: float("nan")}).encode(), None
        yield raw_key, json.dumps({**value, time_field: 10**40}).encode(), None
        yield raw_key, b'{"post_id": ' + b"[" * 20_000, None
        yield b"\xc3\x28", plain, None
        # Kafka itself refuses a record without a key where the topic is compacted.
        yield (None, plain, 0) if topic == "engagements" else (b"", plain, None)


def bad_overrides() -> Iterator[Raw]:
    good = {"verdict": "hide", "by": "mod", "reason": "r", "at_ms": now_ms()}
    for n in itertools.count():
        key, plain = f"post:x{n}|spam".encode(), json.dumps(good).encode()
        yield key, plain.replace(b"mod", b"\xff\xfe"), 0
        yield key, json.dumps({**good, "verdict": 7}).encode(), 0
        yield key, json.dumps({**good, "verdict": "burn"}).encode(), 0
        yield key, b'{"verdict": "hide"}', 0
        yield key, json.dumps({**good, "expires_at_ms": float("nan")}).encode(), 0
        yield key, json.dumps({**good, "at_ms": 10**40}).encode(), 0
        yield key, b'{"verdict": ' + b"[" * 20_000, 0
        yield f"x{n}|spam".encode(), plain, 0
        yield f"post:x{n}|toxicity".encode(), plain, 0
        yield b"\xc3\x28", plain, 0
        yield b"", plain, 0


def send_bad(engine: Engine, topic: str, raws: Iterator[Raw]) -> dict[Any, Raw]:
    """Send bad records, large ones last; by position what was sent."""
    sent = [
        (raw, engine.send(topic, *raw[:2], partition=raw[2])) for raw in itertools.islice(raws, BAD)
    ]
    for n in range(LARGE):
        raw = (f"large-{n}".encode(), b'{"text": "' + b"x" * 900_000, None)
        sent.append((raw, engine.send(topic, *raw[:2])))
    positions = [(raw, future.get(60)) for raw, future in sent]
    return {(topic, at.partition, at.offset): raw for raw, at in positions}


def send_good(engine: Engine, ns: range) -> dict[str, int]:
    posts = [post(n) for n in ns]
    offsets = engine.posts({"post_id": key, **value} for key, value in posts)
    for n in ns:
        key, value = engagement(n)
        engine.send("engagements", key, {"post_id": key, **value}).get(10)
    return offsets


def test_bad_records_become_dead_letters_and_good_ones_are_ranked(start_engine: Any) -> None:
    # The worker reads `signals.novelty`, which no stage of its own writes.
    engine: Engine = start_engine(WORKER, signals="novelty:objective")
    sent: dict[Any, Raw] = {}
    step = GOOD // 5
    good = send_good(engine, range(step))
    for n, topic in enumerate(GOOD_RECORDS, 1):
        sent |= send_bad(engine, topic, bad_events(topic))
        good |= send_good(engine, range(n * step, (n + 1) * step))
    sent |= send_bad(engine, "overrides", bad_overrides())
    good |= send_good(engine, range(4 * step, GOOD))
    hidden = {"verdict": "hide", "by": "mod", "reason": "r", "at_ms": now_ms()}
    engine.send("overrides", "post:bees-3|spam", hidden).get(10)
    truths = engine.wait_decided(good)
    until(lambda: engine.truth("bees-3")["decision"] == "hide", 20)
    truths = engine.truths(list(good))
    assert [p for p, t in truths.items() if t["decision"] not in ("show", "demote")] == ["bees-3"]
    shown = set(good) - {"bees-3"}
    until(lambda: shown <= set(engine.order()), 10)
    until(lambda: len(engine.lettered()) >= len(sent), 60, every=1)
    assert sorted(engine.lettered()) == sorted(sent)
    # Beyond a thousand a second they share range letters.
    own = {at: one for at, one in engine.dead_letters().items() if "records" not in one}
    assert len(own) >= 1_000
    for at, dead_letter in own.items():
        assert (dead_letter["key"], dead_letter["value"]) == sent[at][:2]
        assert len(dead_letter["error"]) > 10 and int(dead_letter["at_ms"]) > 0
        assert dead_letter["stage"] == (
            "engagement" if at[0] in ("posts", "engagements") else "combiner"
        )
    counters = engine.latest("counters")
    assert {p: counters[p]["counters"]["counts"][1] for p in good} == dict.fromkeys(good, 1)
    assert engine.complaints() == []


def config_history(engine: Engine) -> list[Json]:
    """What `feedmill config history` says of every record."""
    command = [sys.executable, "-m", "feedmill.cli.main", "config", "history", "--json"]
    done = subprocess.run(command, env=engine.environment(), capture_output=True, check=True)
    return list(json.loads(done.stdout))


def invalid_settings() -> Iterator[tuple[bytes, bytes]]:
    """Settings that must be refused, each for a reason of its own."""
    weights = {"quality": 0.5, "engagement": 0.5}
    for change in (
        {"quality": -1},
        {"quality": "much"},
        {"quality": None},
        {"quality": 1e7},
        {"quality": 0, "engagement": 0},
        {"explore": 0.1},
        {"gamma": 1},
        {"scale": {"quality": 0}},
        {"scale": {"novelty": 1}},
        {"half_life_hours": 0},
        {"half_life_hours": 1e6},
        {"max_per_author": 0},
        {"max_per_author": 1.5},
    ):
        for key in (b"weights", b"weights/global", b"weights/community:bees"):
            yield key, json.dumps({"value": {**weights, **change}}).encode()
    gate: Json
    for gate in (
        {"toxicity": {}},
        {"spam": {"hide_at": 1.5}},
        {"spam": {"demote_factor": 0}},
        {"spam": {"demote_factor": 2}},
        {"spam": {"on_failure": "maybe"}},
        {"spam": {"grace_s": -1}},
        {"spam": {"enabled": "yes"}},
        {"spam": {"colour": "red"}},
        {"spam": []},
    ):
        for key in (b"gates", b"gates/global"):
            yield key, json.dumps({"value": gate}).encode()
    for name, value in (
        ("weights", b"no JSON"),
        ("weights", b'{"value": ' + b"[" * 50_000),
        ("weights", b'{"value": {"quality": NaN, "engagement": 1}}'),
        ("weights", b'{"value": {"quality": 1e999, "engagement": 1}}'),
        ("weights", b'{"value": {"quality": 1}}'),
        ("weights", b'{"value": 5}'),
        ("weights", b'{"by": "me"}'),
        ("weights", b'\xff\xfe{"value": {}}'),
        ("weights", json.dumps({"value": weights, "if_offset": 10**9}).encode()),
        ("weights", json.dumps({"value": weights, "colour": "red"}).encode()),
        ("weights", json.dumps({"value": weights, "note": "x" * 300_000}).encode()),
        ("weights/no such feed", json.dumps({"value": weights}).encode()),
        ("wieghts", json.dumps({"value": weights}).encode()),
        ("", json.dumps({"value": weights}).encode()),
        ("feeds/global", b'{"value": {"size": 0}}'),
        ("feeds/global", b'{"value": {"window_hours": -1}}'),
        ("feeds/global", b'{"value": {"colour": "red"}}'),
        ("feeds/b|d", b'{"value": {"match": {}}}'),
    ):
        yield name.encode(), value
    for n in itertools.count():
        yield f"unknown-{n}".encode(), b'{"value": {}}'


def test_every_invalid_setting_is_refused_and_the_old_one_stays(whole_engine: Engine) -> None:
    engine = whole_engine
    held = {"quality": 0.25, "engagement": 0.75, "half_life_hours": 12}
    engine.wait_applied(engine.set("weights", held))
    before = engine.feed()[1]
    sent = [
        engine.send("config", key, value, partition=0)
        for key, value in itertools.islice(invalid_settings(), 100)
    ]
    offsets = [future.get(30).offset for future in sent]
    engine.wait_applied(offsets[-1])
    beats = list(engine.instances().values())
    assert {beat["stage"] for beat in beats} == set(STAGES)
    for beat in beats:
        reasons = {refusal["offset"]: refusal["reason"] for refusal in beat["refused"]}
        assert set(offsets[-10:]) == set(reasons)
        assert all(len(reason) > 10 for reason in reasons.values())
        assert beat["config_offset"] == offsets[-1]
    history = {entry["offset"]: entry for entry in config_history(engine)}
    refusals = {history[offset]["reason"] for offset in offsets}
    assert None not in refusals and len(refusals) > 40
    # A renewal shows how far the combiner has read.
    until(lambda: int(engine.feed()[1]["config_offset"]) == offsets[-1], 20)
    after = engine.feed()[1]
    assert after["weights"] == before["weights"] and after["gates"] == before["gates"]
    assert engine.complaints() == []
