"""What a console has to show: posts that are judged, some hidden, reported or overridden.

Of a combiner alone, so nothing moves; all is drawn from one seed.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from builders.engine import Engine
from builders.hostile_markup import HOSTILE
from builders.waiting import now_ms, until
from feedmill.simulation.demo import DemoPosts

POSTS = 160
_HOUR_MS = 3_600_000


def fill(engine: Engine, posts: int = POSTS) -> list[str]:
    """Write posts, their signals, and an override; return their ids once all are decided."""
    random = np.random.default_rng(54)
    demo, now = DemoPosts("seed", random), now_ms()
    written = []
    for number in range(posts):
        post, _ = demo.post(number)
        hostile = HOSTILE[number // 10 % len(HOSTILE)] if number % 10 == 3 else ""
        as_id = "".join(c for c in hostile if c.isprintable() and c not in " |{}")
        written.append(
            {
                "post_id": f"{post.post_id}{as_id}",
                "author_id": f"{post.author_id}{as_id}",
                "created_at_ms": now - int(random.exponential(6 * _HOUR_MS)) - 60_000,
                "text": f"{post.text} {hostile}".strip(),
                "lang": post.lang,
                "communities": list(post.communities or ()),
            }
        )
    expected: dict[str, set[str]] = {}
    for post_id, offset in engine.posts(written).items():
        values = {"quality": random.beta(4, 3), "engagement": random.beta(2, 60)}
        values |= {gate: random.beta(0.6, 4) for gate in engine.gates}
        if random.random() < 0.2:
            values |= {"report": random.beta(2, 200), "hide": random.beta(2, 150)}
        expected[post_id] = {*values}
        for name, value in values.items():
            engine.signal(name, post_id, offset, float(value))
    hide = {"verdict": "hide", "by": "mo", "reason": HOSTILE[0], "at_ms": now}
    engine.send("overrides", f"post:{written[5]['post_id']}|*", hide)
    engine.producer.flush(60)
    expected[str(written[5]["post_id"])].add("override")
    until(partial(_are_there, engine, expected), 120)
    return [str(post["post_id"]) for post in written]


def _are_there(engine: Engine, expected: Mapping[str, set[str]]) -> bool:
    """Whether Redis has all of each post, so that from now on nothing moves."""
    truths = engine.truths([*expected])
    are_there = (fields <= truths.get(name, {}).keys() for name, fields in expected.items())
    return all(are_there) and engine.is_right()
