"""Thirty of three hundred regulars report a post: neither its author nor bots make them unheard."""

import math
from collections.abc import Iterable
from typing import Any

import pytest

from builders.engine import WORKER, Engine
from builders.engine_topics import id_in
from builders.waiting import now_ms, until
from feedmill.events.partition import partition_of

pytestmark = pytest.mark.stack

REGULARS = [f"r{n}" for n in range(300)]
BOTS = 240
# Of a cost, in doublings: the difference of two reports' probabilities, as a ratio.
TWENTIETH = 0.05


@pytest.fixture(scope="module")
def engine(start_shared_engine: Any) -> Engine:
    """A worker that damps no burst, since all comes in seconds."""
    engine: Engine = start_shared_engine(WORKER, FEEDMILL_BURST_REACTIONS="10000")
    return engine


def do(engine: Engine, kind: str, post_id: str, users: Iterable[str]) -> None:
    for user in users:
        event = {"post_id": post_id, "user_id": user, "kind": kind, "at_ms": now_ms()}
        engine.send("engagements", post_id, event)
    engine.producer.flush()


def test_an_invented_community_and_bots_change_no_cost(engine: Engine) -> None:
    for n in range(3):
        engine.post(id_in(0, f"read-{n}"), communities=["python"])
        do(engine, "impression", id_in(0, f"read-{n}"), REGULARS)
    names = {
        "plain": ["python"],
        "invented": ["fresh", "python"],
        "bots": ["python"],
        "both": ["fresher", "python"],
    }
    ids = {name: id_in(0, name) for name in names}
    for number, (name, communities) in enumerate(names.items()):
        post_id = ids[name]
        assert partition_of(post_id.encode(), engine.partitions) == 0
        engine.post(post_id, communities=communities)
        bots = [f"{name}-{n}" for n in range(BOTS if name in ("bots", "both") else 0)]
        do(engine, "impression", post_id, [*REGULARS, *bots])
        # An account counts whole once a community.
        do(engine, "report", post_id, [*REGULARS[30 * number : 30 * number + 30], *bots])

    def costs() -> dict[str, float]:
        found = engine.latest("signals.report")
        return {name: found.get(post_id, {}).get("value") or 0.0 for name, post_id in ids.items()}

    # (30 + base) of (300 + strength) impressions.
    expected = (30 + 0.003 * 160) / (300 + 160)
    until(lambda: min(costs().values()) > 0.9 * expected, 30)
    for name, cost in costs().items():
        assert math.isclose(cost, expected, rel_tol=TWENTIETH), name
