"""New weights apply to a whole feed at once, whatever else changes meanwhile."""

import json
import threading
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from builders.contract_score import score
from builders.engine import Engine
from builders.engine_topics import post_of
from builders.waiting import in_background, now_ms, until

pytestmark = pytest.mark.stack

FLIPS = 50
WEIGHTS = ({"quality": 1, "engagement": 0}, {"quality": 0, "engagement": 1})
# Ten posts whose orders are each other's reverse; the others stay behind them.
RANKED = [f"ranked-{i}" for i in range(10)]
ORDERS = {"quality": RANKED[::-1], "engagement": RANKED}
OTHERS = [f"other-{i}" for i in range(50)]


def write_posts(engine: Engine) -> dict[str, int]:
    born = now_ms()
    born_at = dict.fromkeys(OTHERS, born - 86_400_000) | dict.fromkeys(RANKED, born)
    offsets = engine.posts(post_of(p, created_at_ms=at) for p, at in born_at.items())
    for i, p in enumerate(RANKED):
        engine.write_signals({p: offsets[p]}, quality=0.1 + i * 0.08, engagement=0.09 - i * 0.008)
    engine.write_signals({p: offsets[p] for p in OTHERS}, quality=0.05, engagement=0.005)
    return offsets


class MovingPosts:
    """Signals on the other posts, about 500 a second; the posts stay behind the ranked ones."""

    def __init__(self, engine: Engine, offsets: dict[str, int]) -> None:
        self._engine, self._offsets = engine, offsets
        self.sent = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(0.02):
            for i in range(10):
                post = OTHERS[(self.sent + i) % len(OTHERS)]
                self._engine.signal("quality", post, self._offsets[post], self.quality(i))
            self.sent += 10

    def quality(self, i: int) -> float:
        return 0.04 + (self.sent // 10 + i) % 20 / 2000

    def wait_moved(self, count: int) -> None:
        """Wait until so many more signals were sent."""
        wanted = self.sent + count
        until(lambda: self.sent >= wanted, every=0.005)


def check_reads(engine: Engine, stop: threading.Event) -> list[tuple[str, int, int]]:
    """Read whole feeds until `stop` is set; by which objective, version and offset each was."""
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


def is_read(engine: Engine, reading: Future[Any], offset: int) -> bool:
    """Whether a feed stands under this setting, or the reader has failed meanwhile."""
    return reading.done() or int(engine.feed()[1]["config_offset"]) >= offset


def test_every_read_shows_one_whole_ranking_under_its_weights(start_engine: Any) -> None:
    # Without models: the test writes the signals itself.
    engine: Engine = start_engine("combiner")
    offsets = write_posts(engine)
    first = engine.set("weights", WEIGHTS[1]) + 1
    engine.wait_applied(first - 1)
    until(lambda: engine.order()[:10] == RANKED and len(engine.order()) == 60)
    moving = MovingPosts(engine, offsets)
    with (
        in_background(moving.run),
        in_background(partial(check_reads, engine)) as reading,
    ):
        for flip in range(FLIPS):
            offset = engine.set("weights", WEIGHTS[flip % 2])
            until(partial(is_read, engine, reading, offset), every=0.001)
            moving.wait_moved(30)
    reads = reading.result()
    # What moved beside the flips came through, too.
    signals = engine.latest("signals.quality")
    newest = {p: signals[p]["at_ms"] for p in OTHERS}
    until(lambda: {p: engine.truth(p)["quality"]["at_ms"] for p in OTHERS} == newest)
    versions = [version for _, version, _ in reads]
    assert versions == sorted(versions)
    # Each read stands under the weights that were written at its offset.
    assert all(WEIGHTS[(at - first) % 2][by] == 1 for by, _, at in reads)
    assert len({at for _, _, at in reads}) > FLIPS / 2
    assert engine.complaints() == []
