"""New weights: all at once, under the version that says so, however much else goes on."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from builders.contract_score import score
from builders.engine import Engine
from builders.waiting import in_background, now_ms, until

pytestmark = pytest.mark.stack

FLIPS = 100
WEIGHTS = ({"quality": 1, "engagement": 0}, {"quality": 0, "engagement": 1})
# Ten posts whose orders are each other's reverse; the others stay behind them.
RANKED = [f"ranked-{i}" for i in range(10)]
ORDERS = {"quality": RANKED[::-1], "engagement": RANKED}
OTHERS = [f"other-{i}" for i in range(50)]


def write_posts(engine: Engine) -> dict[str, int]:
    born = now_ms()
    post = {"text": "on", "lang": "en"}
    offsets = engine.posts(
        {"post_id": p, "author_id": p, "created_at_ms": at, **post}
        for p, at in [(p, born) for p in RANKED] + [(p, born - 86_400_000) for p in OTHERS]
    )
    for i, p in enumerate(RANKED):
        engine.judge({p: offsets[p]}, quality=0.1 + i * 0.08, engagement=0.09 - i * 0.008)
    engine.judge({p: offsets[p] for p in OTHERS}, quality=0.05, engagement=0.005)
    return offsets


def move_others(engine: Engine, offsets: dict[str, int], stop: threading.Event) -> int:
    """500 signals a second on the other posts, until told to stop; how many."""
    start, sent = time.monotonic(), 0
    for n in itertools.count():
        if stop.is_set():
            break
        for i in range(10):
            post = OTHERS[(n * 10 + i) % len(OTHERS)]
            engine.signal("quality", post, offsets[post], 0.04 + ((n + i) % 20) / 2000)
            sent += 1
        time.sleep(max(0.0, start + (n + 1) * 0.02 - time.monotonic()))
    return sent


def check_reads(engine: Engine, stop: threading.Event) -> list[tuple[str, int, int]]:
    """Read until told to stop, each read a whole feed; by which weight, version and offset."""
    truths: dict[str, Any] = engine.truths(RANKED)
    reads = []
    while not stop.is_set():
        entries, info = engine.feed()
        weights = json.loads(info["weights"])
        (by,) = (name for name in ("quality", "engagement") if weights[name])
        assert len(entries) == 60 == int(info["size"])
        assert [p for p, _ in entries[:10]] == ORDERS[by]
        for post, found in entries[:10]:
            assert abs(found - score(truths[post], weights)) <= 1e-9
        reads.append((by, int(info["version"]), int(info["config_offset"])))
    return reads


def percentiles(values: Sequence[float]) -> str:
    p50, p99 = np.percentile(values, [50, 99])
    return f"p50 {p50:.1f}, p99 {p99:.1f}, max {max(values):.1f} (n {len(values)})"


def test_every_read_shows_one_whole_ranking_under_its_weights(combiner_alone: Engine) -> None:
    engine = combiner_alone
    offsets = write_posts(engine)
    first = engine.set("weights", WEIGHTS[1]) + 1
    engine.wait_applied(first - 1)
    until(lambda: engine.order()[:10] == RANKED and len(engine.order()) == 60)
    visible_ms, began = [], time.monotonic()
    with (
        in_background(lambda stop: move_others(engine, offsets, stop)) as flow,
        in_background(lambda stop: check_reads(engine, stop)) as reading,
    ):
        for flip in range(FLIPS):
            start = time.monotonic()
            offset = engine.set("weights", WEIGHTS[flip % 2])

            def shown(offset: int = offset) -> bool:
                return reading.done() or int(engine.feed()[1]["config_offset"]) >= offset

            until(shown, every=0.001)
            visible_ms.append((time.monotonic() - start) * 1000)
            time.sleep(0.05)
    seconds = time.monotonic() - began
    rate, reads = flow.result() / seconds, reading.result()
    print(f"\nproduce to visible, ms: {percentiles(visible_ms)}")
    print(f"{len(reads)} reads, {rate:.0f} events/s beside")
    assert rate > 450
    versions = [version for _, version, _ in reads]
    assert versions == sorted(versions)
    # Each read stands under the weights that were written at its offset.
    assert all(WEIGHTS[(at - first) % 2][by] == 1 for by, _, at in reads)
    assert len({at for _, _, at in reads}) > FLIPS / 2
    assert engine.complaints() == []
