"""Bursts: what is damped, against the definition."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.events.engagement import ENGAGEMENT_KINDS, EngagementKind
from feedmill.streams.engagement.burst_damping import MINUTE_MS, BurstDamping

START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
FREE = 40
# So many make a post as busy as one reaction of another kind; nothing but views damps them.
LIKE_ONE_REACTION: dict[str, float] = {"impression": 10, "dwell": math.inf}
Event = tuple[str, EngagementKind, int]


def draw_events(random: Random) -> list[Event]:
    """An hour of two posts, quiet and busy minutes and gaps."""
    events: list[Event] = []
    minute = 0
    while minute < 60:
        minute += random.choice((1, 1, 1, 1, 2, 8, 12))
        kinds: list[EngagementKind] = ["impression", *random.sample(ENGAGEMENT_KINDS, 3)]
        for _ in range(random.choice((0, 3, 60, 180, 400, 2_000))):
            kind = random.choice(kinds)
            at_ms = START_MS + minute * MINUTE_MS + random.randrange(MINUTE_MS)
            events.append((random.choice("pq"), kind, at_ms))
    return sorted(events, key=lambda event: event[2])


def by_definition(events: list[Event]) -> list[float]:
    counts: dict[tuple[str, EngagementKind, int], int] = {}
    found = []
    for post_id, kind, at_ms in events:
        minute = at_ms // MINUTE_MS
        count = counts[post_id, kind, minute] = counts.get((post_id, kind, minute), 0) + 1

        def of(kind: EngagementKind, ago: int, post_id: str = post_id) -> int:
            return counts.get((post_id, kind, ago), 0)

        busy = [
            ago
            for ago in range(minute - 9, minute)
            if max(of(one, ago) / LIKE_ONE_REACTION.get(one, 1) for one in ENGAGEMENT_KINDS) >= 5
        ]
        past = {one: sum(of(one, ago) for ago in busy) for one in ("impression", kind)}
        shown = of("impression", minute)
        most_shown = 10 * FREE + 3 * past["impression"] / 9
        most = FREE + 0.1 * shown + 3 * past[kind] / 9
        weight = min(1.0, most_shown / shown) ** 2 if shown else 1.0
        found.append(weight if kind in LIKE_ONE_REACTION else weight * min(1.0, most / count) ** 2)
    return found


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), cut=st.floats(0, 1))
def test_what_is_damped_follows_from_ten_minutes_also_after_a_restart(
    seed: int, cut: float
) -> None:
    events = draw_events(Random(seed))
    expected = by_definition(events)
    bursts = BurstDamping(FREE)
    assert [bursts.weight(*event) for event in events] == pytest.approx(expected)
    start = int(cut * len(events))
    since_ms = bursts.since(events[start][2]) if start < len(events) else 0
    restored = BurstDamping(FREE)
    for event in events[:start]:
        if event[2] >= since_ms:
            restored.weight(*event)
    again = [restored.weight(*event) for event in events[start:]]
    assert again == pytest.approx(expected[start:])


def counted(bursts: BurstDamping, kind: EngagementKind, count: int, at_ms: int) -> float:
    """For how many so many events within a minute count."""
    step = (MINUTE_MS - 1) / count
    return sum(bursts.weight("p", kind, at_ms + int(i * step)) for i in range(count))


def test_it_goes_on_when_the_clock_of_the_broker_is_set_back() -> None:
    bursts = BurstDamping(FREE)
    assert counted(bursts, "click", 30, START_MS + 60 * MINUTE_MS) == 30
    for minute in range(3):
        assert counted(bursts, "click", 30, START_MS + minute * MINUTE_MS) == 30
