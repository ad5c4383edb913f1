from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.features.counters import (
    HALF_LIFE_MS,
    KIND_INDEX,
    Counters,
    decayed_matrix,
    update,
    update_many,
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


def fold_one(events: list[Event]) -> list[Counters]:
    counters = [Counters() for _ in range(POSTS)]
    for row, kind, at_ms, dwell in events:
        update(counters[row], ENGAGEMENT_KINDS[kind], at_ms, dwell or None)
    return counters


def fold_many(events: list[Event], cuts: list[int]) -> list[Counters]:
    counters = [Counters() for _ in range(POSTS)]
    bounds = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    for begin, end in pairwise(bounds):
        part = events[begin:end]
        rows, kinds, at_ms = (np.array([e[i] for e in part], dtype=np.int64) for i in range(3))
        dwell_ms = np.array([e[3] for e in part], dtype=np.float64)
        update_many(counters, rows, kinds, at_ms, dwell_ms)
    return counters


@settings(max_examples=200)
@given(EVENTS, st.lists(st.integers(0, 60), max_size=5))
def test_the_split_into_batches_does_not_matter(events: list[Event], cuts: list[int]) -> None:
    for one, many in zip(fold_one(events), fold_many(events, cuts), strict=True):
        assert one.counts == many.counts
        assert one.at_ms == many.at_ms
        assert one.dwell_ms == many.dwell_ms
        np.testing.assert_allclose(one.sums, many.sums, rtol=1e-12, atol=0)


@settings(max_examples=100)
@given(EVENTS)
def test_the_value_is_the_decayed_sum_by_definition(events: list[Event]) -> None:
    counters = fold_one(events)
    values = decayed_matrix(counters)
    assert np.isfinite(values).all()
    for row in range(POSTS):
        own = [(kind, at_ms) for r, kind, at_ms, _ in events if r == row]
        last = max((at_ms for _, at_ms in own), default=0)
        assert counters[row].last_ms == last
        expected = np.zeros(len(ENGAGEMENT_KINDS))
        for kind, at_ms in own:
            expected[kind] += 2.0 ** (-(last - at_ms) / HALF_LIFE_MS)
        np.testing.assert_allclose(values[row], expected, rtol=1e-9, atol=1e-300)


def test_a_late_event_is_decayed_itself() -> None:
    counters = Counters()
    update(counters, "click", 10 * HALF_LIFE_MS)
    update(counters, "click", 9 * HALF_LIFE_MS)
    click = KIND_INDEX["click"]
    assert counters.sums[click] == 1.5
    assert counters.at_ms[click] == 10 * HALF_LIFE_MS
    assert counters.counts[click] == 2


def test_far_apart_times_neither_overflow_nor_fail() -> None:
    counters = Counters()
    for at_ms in (2**53 - 1, 0, 2**53 - 1, 5):
        update(counters, "like", at_ms)
    assert counters.sums[KIND_INDEX["like"]] == 2.0
    assert counters.counts[KIND_INDEX["like"]] == 4


def test_survives_json() -> None:
    counters = fold_one([(0, 1, 5, 0.0), (0, 5, 7_000, 1234.6), (0, 1, 999_999, 0.0)])[0]
    again = Counters.from_dict(json.loads(json.dumps(counters.to_dict())))
    assert again == counters
    assert msgspec.json.decode(msgspec.json.encode(counters), type=Counters) == counters
    assert counters.dwell_ms == 1235
    with pytest.raises(msgspec.ValidationError, match="counts"):
        Counters.from_dict({"counts": [1, 2]})


def test_two_posts_do_not_share_their_lists() -> None:
    first, second = Counters(), Counters()
    update(first, "share", 1)
    assert second == Counters()


def test_no_counters_no_rows() -> None:
    assert decayed_matrix([]).shape == (0, len(ENGAGEMENT_KINDS))
