"""Twice as many engagements as a worker can take: what goes before them stays fresh."""

import json
import time
from collections.abc import Sequence

from builders.engine import KINDS, Engine, Worker
from builders.engine_topics import post_of
from builders.waiting import in_background, now_ms, until
from chaos.flood import EACH_TIME_ANOTHER, Flood
from chaos.latency import LatencyProbe
from chaos.load import COMMUNITIES
from chaos.peak_memory import peak_memory
from chaos.scenario import Chaos, Row, Rows
from chaos.verdict import Expected, Found, judge

POSTS = 200
BURST = 60_000
# What goes before engagements is visible within this; without load it takes some 20 ms.
FRESH_BAR_S = 3.0
# What the queues, one transaction and one batch may hold: see docs/chaos.md.
PEAK_BAR_MB = 400.0


def run(chaos: Chaos) -> Rows:
    seconds = 300.0 if chaos.is_long else 6.0
    engine = chaos.engine()
    worker = engine.ready_worker()
    ids = send_posts(engine)
    flood = Flood(engine, "engagements", engagement_pool(ids))
    capacity = measured_capacity(engine, worker, flood)
    flood.rate = 2 * capacity
    probe = LatencyProbe(engine)
    with peak_memory(engine) as memory:
        with in_background(flood.send_until):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                probe.round(("post", "setting", "override"))
            lag = engine.metric(worker, "feedmill_lag")
        start = time.monotonic()
        wait_taken(engine, worker, flood, 6 * seconds + 60)
        recover_s = time.monotonic() - start
        # The last counts of a post are committed after its last record was read.
        expected = Expected({}, expected_counts(ids, flood))
        until(lambda: judge(expected, Found({}, {}, {}, engine.last_counts())).is_clean, 60, 0.5)
        verdict = judge(expected, Found({}, {}, {}, engine.last_counts()))
    worst = {kind: max(times) for kind, times in probe.seconds.items()}
    slowest = ", ".join(f"{kind} {s:.2f} s" for kind, s in worst.items())
    yield Row(
        fault="engagements at twice the capacity",
        events=flood.total,
        verdict=verdict,
        recover_s=recover_s,
        # What waits was sent at twice the rate at which it is taken.
        recover_bar_s=3 * seconds + 10,
        peak_mb=memory.mb,
        peak_bar_mb=PEAK_BAR_MB,
        failures=(
            *(f"a {k} took {s:.1f} s" for k, s in worst.items() if s > FRESH_BAR_S),
            *(("the lag was not visible",) if lag < capacity / 2 else ()),
            *engine.complaints()[:3],
        ),
        notes=(f"{flood.rate:,.0f}/s for {seconds:.0f} s, lag {lag:,.0f}; the slowest: {slowest}",),
    )


def send_posts(engine: Engine) -> list[str]:
    """Send posts, and wait until they are decided."""
    ids = [f"liked-{n}" for n in range(POSTS)]
    engine.posts(
        post_of(post_id, f"Notes from {post_id}", communities=[COMMUNITIES[n % len(COMMUNITIES)]])
        for n, post_id in enumerate(ids)
    )
    engine.wait_decided(ids)
    return ids


def engagement_pool(
    ids: Sequence[str], user_id: str = EACH_TIME_ANOTHER
) -> list[tuple[bytes, bytes]]:
    """One engagement of every kind on each post, each time by another user unless one is given."""
    common = {"user_id": user_id, "at_ms": now_ms()}
    return [
        (p.encode(), json.dumps({"post_id": p, "kind": kind, **common}).encode())
        for kind in KINDS
        for p in ids
    ]


def measured_capacity(engine: Engine, worker: Worker, flood: Flood) -> float:
    """Events that the worker takes in a second, where enough of them wait."""
    start = time.monotonic()
    flood.send(BURST)
    wait_taken(engine, worker, flood, 60)
    return BURST / (time.monotonic() - start)


def wait_taken(engine: Engine, worker: Worker, flood: Flood, seconds: float) -> None:
    """Wait until a worker has taken all engagements of a flood, the only ones that there are."""
    taken = r'feedmill_events_total\{[^}]*topic="engagements"[^}]*\}'
    until(lambda: engine.metric(worker, taken) >= flood.total, seconds, 0.05)


def expected_counts(ids: list[str], flood: Flood) -> dict[str, list[int]]:
    """What was sent of each post, in the order of kinds."""
    sent = flood.sent
    return {post_id: sent[n :: len(ids)] for n, post_id in enumerate(ids)}
