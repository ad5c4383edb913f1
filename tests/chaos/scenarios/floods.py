"""A flood on one post, by one user, by one author, in one community: the rest stays as fresh."""

import json
import time
from collections.abc import Sequence
from random import Random

from builders.engine import Engine, Worker
from builders.engine_topics import post_of
from builders.waiting import in_background, until
from chaos.flood import Flood
from chaos.latency import LatencyProbe
from chaos.load import random_text
from chaos.peak_memory import PeakMemory, peak_memory
from chaos.scenario import Chaos, Row, Rows
from chaos.scenarios.overload import engagement_pool, measured_capacity, send_posts

Pool = Sequence[tuple[bytes, bytes]]

POSTS = 20_000
BURST_OF_POSTS = 4_000
KINDS = ("post", "engagement")
# Of what a worker takes: the rest of a product's events is small beside it.
FLOOD_OF_ENGAGEMENTS, FLOOD_OF_POSTS = 0.4, 0.3
# How much longer the median may take than without a flood, in the same run.
RATIO_BAR = 10.0
# A median below it is fresh, whatever the ratio: without a flood it is some 15 ms.
FRESH_S = 0.25


def run(chaos: Chaos) -> Rows:
    if not chaos.is_long:
        return
    seconds = 20.0
    engine = chaos.engine()
    worker = engine.ready_worker()
    ids = send_posts(engine)
    engagements = measured_capacity(
        engine, worker, Flood(engine, "engagements", engagement_pool(ids))
    )
    posts = capacity_of_posts(engine, worker, chaos.random)
    calm = probed(engine, "calm", seconds)
    by_one_user = engagement_pool(ids, "one-user")
    floods: list[tuple[str, str, float, Pool]] = [
        ("of engagements on one post", "engagements", engagements, by_one_user[:1]),
        ("of engagements by one user", "engagements", engagements, by_one_user),
        ("of posts by one author", "posts", posts, post_pool(chaos.random, author="one")),
        ("of posts in one community", "posts", posts, post_pool(chaos.random, community="one")),
    ]
    with peak_memory(engine) as memory:
        for number, (name, topic, capacity, pool) in enumerate(floods):
            share = FLOOD_OF_POSTS if topic == "posts" else FLOOD_OF_ENGAGEMENTS
            flood = Flood(engine, topic, pool, rate=share * capacity)
            with in_background(flood.send_until):
                flooded = probed(engine, f"flooded-{number}", seconds)
            yield row_of(name, flood, calm, flooded, memory)


def row_of(
    name: str, flood: Flood, calm: LatencyProbe, flooded: LatencyProbe, memory: PeakMemory
) -> Row:
    medians = {kind: (calm.median(kind), flooded.median(kind)) for kind in KINDS}
    ratios = ", ".join(f"{kind} x{after / before:.1f}" for kind, (before, after) in medians.items())
    return Row(
        fault=f"a flood {name}",
        events=flood.total,
        recover_s=max(after for _, after in medians.values()),
        recover_bar_s=max(FRESH_S, RATIO_BAR * max(before for before, _ in medians.values())),
        peak_mb=memory.mb,
        notes=(f"{flood.rate:,.0f}/s; the medians of the rest: {ratios}",),
    )


def probed(engine: Engine, tag: str, seconds: float) -> LatencyProbe:
    """Measure how soon single posts and engagements of others are visible."""
    probe = LatencyProbe(engine, tag)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        probe.round(KINDS)
    return probe


def capacity_of_posts(engine: Engine, worker: Worker, drawn: Random) -> float:
    """Posts that the worker takes in a second, where enough of them wait."""
    flood = Flood(engine, "posts", post_pool(drawn, "burst", number=BURST_OF_POSTS))
    taken = r'feedmill_events_total\{[^}]*topic="posts"[^}]*\}'
    before, start = engine.metric(worker, taken), time.monotonic()
    flood.send(BURST_OF_POSTS)
    until(lambda: engine.metric(worker, taken) >= before + BURST_OF_POSTS, 60, 0.05)
    return BURST_OF_POSTS / (time.monotonic() - start)


def post_pool(
    drawn: Random, tag: str = "flood", *, author: str = "", community: str = "", number: int = POSTS
) -> Pool:
    """Posts of different authors and communities, unless one is given."""
    name = f"{tag}-{author}{community}"
    return [
        (
            f"{name}-{n}".encode(),
            json.dumps(
                post_of(
                    f"{name}-{n}",
                    random_text(drawn),
                    author_id=author or f"{name}-{n}",
                    communities=[community or f"c{n % 50}"],
                )
            ).encode(),
        )
        for n in range(number)
    ]
