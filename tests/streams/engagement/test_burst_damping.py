"""Bursts: what is damped, against the definition, and that honest posts keep their counts."""

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


@pytest.mark.parametrize("kind", ["click", "like", "reply", "share", "hide", "report"])
def test_reactions_out_of_nothing_count_for_less_than_80_however_many(kind: EngagementKind) -> None:
    assert 71 < counted(BurstDamping(FREE), kind, 200, START_MS) < 73
    assert counted(BurstDamping(FREE), kind, 20_000, START_MS) < 2 * FREE


def test_impressions_of_the_same_accounts_explain_few_of_them() -> None:
    bursts = BurstDamping(FREE)
    assert counted(bursts, "impression", 200, START_MS) == 200
    assert 101 < counted(bursts, "click", 200, START_MS) < 103


@pytest.mark.parametrize("minutes", [3, 5, 20, 120])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.13])
def test_a_post_of_1000_honest_impressions_keeps_all_its_clicks(minutes: int, rate: float) -> None:
    random, bursts, damped = Random(minutes), BurstDamping(FREE), 0
    events: list[tuple[int, EngagementKind]] = []
    for _ in range(1_000):
        at_ms = START_MS + random.randrange(minutes * MINUTE_MS)
        events.append((at_ms, "impression"))
        if random.random() < rate:
            events.append((at_ms + random.randrange(20_000), "click"))
    for at_ms, kind in sorted(events):
        damped += bursts.weight("p", kind, at_ms) < 1
    assert damped == 0


def test_a_post_that_is_read_more_and_more_keeps_99_percent_of_its_clicks() -> None:
    """Without any impression: 5 clicks in the first minute, a half more in each, up to 150."""
    random, bursts = Random(1), BurstDamping(FREE)
    total = damped = 0
    for minute in range(60):
        count = min(150, round(5 * 1.5**minute))
        total += count
        at_ms = START_MS + minute * MINUTE_MS
        for at in sorted(random.randrange(MINUTE_MS) for _ in range(count)):
            damped += bursts.weight("p", "click", at_ms + at) < 1
    assert damped < 0.01 * total


def test_viewers_out_of_nothing_sink_no_post_and_a_rush_keeps_its_rate() -> None:
    """Beyond 400 impressions in a minute all events of it count less, so that the rate stays."""
    bursts = BurstDamping(FREE)
    assert counted(bursts, "impression", 100_000, START_MS) < 2 * 10 * FREE
    random, bursts = Random(1), BurstDamping(FREE)
    shown = clicks = 0.0
    for minute in range(5):
        for i in range(10_000):
            at_ms = START_MS + minute * MINUTE_MS + i * (MINUTE_MS - 1) // 10_000
            shown += bursts.weight("p", "impression", at_ms)
            if random.random() < 0.05:
                clicks += bursts.weight("p", "click", at_ms)
    # Within four minutes what goes on is no burst any more.
    assert shown > 20_000
    assert clicks / shown == pytest.approx(0.05, rel=0.1)
