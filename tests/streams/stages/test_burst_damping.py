"""Bursts: what is damped, against the definition, and that honest posts keep their counts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.events.engagement import EngagementKind
from feedmill.streams.stages.burst_damping import MINUTE_MS, BurstDamping

START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
Event = tuple[str, EngagementKind, int]


def draw_events(random: Random) -> list[Event]:
    """An hour of two posts, quiet and busy minutes and gaps."""
    events: list[Event] = []
    minute = 0
    while minute < 60:
        minute += random.choice((1, 1, 1, 1, 2, 8, 12))
        for _ in range(random.choice((0, 3, 60, 180, 400))):
            kind: EngagementKind = random.choice(("impression", "impression", "click", "like"))
            at_ms = START_MS + minute * MINUTE_MS + random.randrange(MINUTE_MS)
            events.append((random.choice("pq"), kind, at_ms))
    return sorted(events, key=lambda event: event[2])


def by_definition(events: list[Event]) -> list[bool]:
    counts: dict[tuple[str, EngagementKind, int], int] = {}
    found = []
    for post_id, kind, at_ms in events:
        minute = at_ms // MINUTE_MS
        count = counts[post_id, kind, minute] = counts.get((post_id, kind, minute), 0) + 1
        past = [
            counts.get((post_id, kind, ago), 0)
            for ago in range(minute - 9, minute)
            if max(counts.get((post_id, other, ago), 0) for other in ("click", "like")) >= 5
        ]
        mean = sum(past) / 9
        shown = counts.get((post_id, "impression", minute), 0)
        most = 40 + 0.1 * shown + 3 * mean
        found.append(kind != "impression" and count > most + 1e-9)
    return found


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), cut=st.floats(0, 1))
def test_what_is_damped_follows_from_ten_minutes_also_after_a_restart(
    seed: int, cut: float
) -> None:
    events = draw_events(Random(seed))
    expected = by_definition(events)
    bursts = BurstDamping()
    assert [bursts.exceeds(*event) for event in events] == expected
    start = int(cut * len(events))
    since_ms = bursts.since(events[start][2]) if start < len(events) else 0
    restored = BurstDamping()
    for event in events[:start]:
        if event[2] >= since_ms:
            restored.exceeds(*event)
    assert [restored.exceeds(*event) for event in events[start:]] == expected[start:]


def counted(bursts: BurstDamping, kind: EngagementKind, count: int, at_ms: int) -> int:
    """Of so many events within a minute, how many count."""
    return sum(
        not bursts.exceeds("p", kind, at_ms + i * (MINUTE_MS - 1) // count) for i in range(count)
    )


@pytest.mark.parametrize("kind", ["click", "like", "reply", "share", "hide", "report"])
def test_of_200_reactions_in_a_minute_out_of_nothing_40_count(kind: EngagementKind) -> None:
    assert counted(BurstDamping(), kind, 200, START_MS) == 40


def test_impressions_of_the_same_accounts_explain_few_of_them() -> None:
    bursts = BurstDamping()
    assert counted(bursts, "impression", 200, START_MS) == 200
    assert counted(bursts, "click", 200, START_MS) == 60


@pytest.mark.parametrize("minutes", [1, 2, 5, 20, 120])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.13])
def test_a_post_of_1000_honest_impressions_keeps_all_its_clicks(minutes: int, rate: float) -> None:
    random, bursts, damped = Random(minutes), BurstDamping(), 0
    events: list[tuple[int, EngagementKind]] = []
    for _ in range(1_000):
        at_ms = START_MS + random.randrange(minutes * MINUTE_MS)
        events.append((at_ms, "impression"))
        if random.random() < rate:
            events.append((at_ms + random.randrange(20_000), "click"))
    for at_ms, kind in sorted(events):
        damped += bursts.exceeds("p", kind, at_ms)
    assert damped == 0


def test_a_post_that_is_read_more_and_more_keeps_99_percent_of_its_clicks() -> None:
    """Without any impression: 5 clicks in the first minute, a half more in each, up to 150."""
    random, bursts = Random(1), BurstDamping()
    total = damped = 0
    for minute in range(60):
        count = min(150, round(5 * 1.5**minute))
        total += count
        at_ms = START_MS + minute * MINUTE_MS
        for at in sorted(random.randrange(MINUTE_MS) for _ in range(count)):
            damped += bursts.exceeds("p", "click", at_ms + at)
    assert damped < 0.01 * total
