import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.features.counters import (
    COUNTED_KINDS,
    HALF_LIFE_MS,
    KIND_INDEX,
    LONG_DWELL_MS,
    Counters,
    decayed_counts,
    update,
    weight_of,
)

POSTS = 3
EVENTS = st.lists(
    st.tuples(
        st.integers(0, POSTS - 1),
        st.integers(0, len(ENGAGEMENT_KINDS) - 1),
        st.one_of(st.integers(0, 10**8), st.integers(0, 2**53 - 1)),
        st.one_of(st.just(0.0), st.floats(0, 86_400_000)),
    ),
    max_size=60,
)
Event = tuple[int, int, int, float]


def fold(events: list[Event]) -> list[Counters]:
    counters = [Counters() for _ in range(POSTS)]
    for row, kind, at_ms, dwell in events:
        update(counters[row], ENGAGEMENT_KINDS[kind], at_ms, dwell or None)
    return counters


@settings(max_examples=100)
@given(EVENTS)
def test_the_value_is_the_decayed_sum_by_definition(events: list[Event]) -> None:
    counters = fold(events)
    values = decayed_counts(counters)
    assert np.isfinite(values).all()
    for row in range(POSTS):
        own = [one[1:] for one in events if one[0] == row]
        last = max((at_ms for _, at_ms, _ in own), default=0)
        counts = [sum(k == kind for k, *_ in own) for kind in range(len(COUNTED_KINDS))]
        assert counters[row].counts == counts
        assert counters[row].dwell_ms == sum(round(e[3]) for e in events if e[0] == row)
        expected = np.zeros(len(COUNTED_KINDS))
        for kind, at_ms, dwell in own:
            if kind != KIND_INDEX["dwell"] or dwell >= LONG_DWELL_MS:
                expected[kind] += 2.0 ** (-(last - at_ms) / HALF_LIFE_MS)
        np.testing.assert_allclose(values[row], expected, rtol=1e-9, atol=1e-300)


def test_a_dwell_counts_from_its_least_time_on() -> None:
    counters, dwell = Counters(), KIND_INDEX["dwell"]
    for dwell_ms, expected in ((LONG_DWELL_MS - 1, 0), (LONG_DWELL_MS, 1), (None, 1)):
        update(counters, "dwell", 0, dwell_ms)
        assert counters.sums[dwell] == expected


def test_a_late_event_is_decayed_itself() -> None:
    counters = Counters()
    update(counters, "click", 10 * HALF_LIFE_MS)
    update(counters, "click", 9 * HALF_LIFE_MS)
    click = KIND_INDEX["click"]
    assert counters.sums[click] == 1.5
    assert counters.at_ms[click] == 10 * HALF_LIFE_MS
    assert counters.counts[click] == 2


def test_survives_json() -> None:
    counters = fold([(0, 1, 5, 0.0), (0, 5, 7_000, 1234.6), (0, 1, 999_999, 0.0)])[0]
    assert counters.dwell_ms == 1235
    assert msgspec.json.decode(msgspec.json.encode(counters), type=Counters) == counters
    with pytest.raises(msgspec.ValidationError, match="counts"):
        msgspec.json.decode(b'{"counts":[1,2]}', type=Counters)


def test_no_counters_no_rows() -> None:
    assert decayed_counts([]).shape == (0, len(COUNTED_KINDS))


def test_a_weight_counts_in_the_decayed_sum_alone() -> None:
    weighted, plain = Counters(), Counters()
    for at_ms in (HALF_LIFE_MS, 0, 3 * HALF_LIFE_MS):
        update(weighted, "impression", at_ms, weight=0.25)
        update(plain, "impression", at_ms)
    assert weighted.counts == plain.counts
    assert weighted.sums[0] == 0.25 * plain.sums[0]


def test_an_impression_weighs_as_much_as_its_position_is_looked_at() -> None:
    curve = (1.0, 0.5, 0.25)
    weights = [weight_of("impression", position, curve) for position in (0, 1, 2, 3, 900, None)]
    assert weights == [1.0, 0.5, 0.25, 0.25, 0.25, 1.0]
    assert weight_of("click", 2, curve) == 1.0
    assert weight_of("impression", 2, ()) == 1.0
