"""The setting `rates` in a running engine: Redis alone gives each score while rates change."""

from collections.abc import Callable

import pytest

from builders.engine import WORKER, Engine
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack

RATES = (
    {"hide": {"base": 0.0189, "strength": 160}, "report": {"base": 0.009, "strength": 160}},
    {"reply": {"base": 0.2, "strength": 20}, "report": {"base": 0.001, "strength": 40}},
    None,
)
POSTS = [f"p{number}" for number in range(80)]


def test_redis_alone_gives_each_score_while_rates_change(
    start_engine: Callable[..., Engine],
) -> None:
    engine = start_engine(WORKER)
    weights = {"quality": 0.5, "engagement": 0.5, "reply": 0.5, "scale": {"reply": 10}}
    engine.set("weights", weights)
    for number, post_id in enumerate(POSTS):
        engine.post(post_id, author_id=f"a{number}")
    engine.wait_decided(POSTS)
    for number, post_id in enumerate(POSTS[::4]):
        for user in range(number):
            event = {"post_id": post_id, "user_id": f"u{user}", "at_ms": now_ms()}
            engine.send("engagements", post_id, {**event, "kind": "impression"})
            if user % 3 == 0:
                engine.send("engagements", post_id, {**event, "kind": "reply"})
    until(lambda: engine.is_right() and "reply" in engine.truth(POSTS[76]), 60)
    before = dict(engine.feed()[0])
    for number, rates in enumerate(RATES):
        offset = engine.set("rates", rates)
        for user in range(5):  # while the pass goes on
            post_id = POSTS[(7 * number + user) % len(POSTS)]
            event = {"post_id": post_id, "user_id": f"w{number}.{user}", "at_ms": now_ms()}
            engine.send("engagements", post_id, {**event, "kind": "impression"})
        engine.wait_applied(offset)
        until(engine.is_right, 60)
        after = dict(engine.feed()[0])
        assert len(before.keys() & after.keys()) > 60
        changed = [p for p in before.keys() & after.keys() if before[p] != after[p]]
        # Posts without counts have the new base at once.
        assert len(changed) > 40, rates
        before = after
    assert engine.complaints() == []
