"""Packed states against plain objects: whatever is stored reads back the same."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from feedmill.features.counters import COUNTED_KINDS, Counters
from feedmill.streams.engagement.packed_states import PackedStates, PostState

KINDS = len(COUNTED_KINDS)
OFFSETS = st.integers(-1, 2**63 - 1)
TIMES = st.integers(0, 2**53)


@st.composite
def counters(draw: st.DrawFn) -> Counters:
    drawn = Counters(dwell_ms=draw(st.one_of(st.just(0), st.integers(0, 2**53))))
    for kind in draw(st.sets(st.integers(0, KINDS - 1))):
        drawn.counts[kind] = draw(st.integers(1, 2**32 - 1))
        drawn.sums[kind] = draw(st.floats(0, 1e12))
        drawn.at_ms[kind] = draw(TIMES)
    return drawn


STATES = st.builds(
    PostState,
    *(st.just("p"), OFFSETS, st.floats(0, 1), OFFSETS, TIMES, counters()),
    *(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63 - 1)),
)
EDITED = st.builds(replace, STATES, edits=st.integers(1, 9), edited_ms=TIMES)
FURTHER = st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=15).map(tuple)
OF_COMMUNITIES = st.builds(replace, STATES, community=st.integers(1, 2**32 - 1), further=FURTHER)
# What happens to which of a few rows; None frees it.
CHANGES = st.lists(
    st.tuples(st.integers(0, 5), st.one_of(st.none(), STATES, EDITED, OF_COMMUNITIES)), max_size=60
)


@given(changes=CHANGES)
def test_what_is_stored_reads_back_whatever_happens_to_other_rows(
    changes: list[tuple[int, PostState | None]],
) -> None:
    packed = PackedStates()
    expected: dict[int, PostState] = {}
    for row in range(6):  # rows come in their order
        packed.store(row, PostState("p"))
        packed.free(row)
    for row, state in changes:
        if state is not None:
            packed.store(row, state)
            expected[row] = state
        elif row in expected:
            packed.free(row)
            del expected[row]
        assert {row: packed.load(row, "p") for row in expected} == expected


def test_the_communities_of_a_row_are_those_of_its_state() -> None:
    packed = PackedStates()
    packed.store(0, PostState("p", community=7, further=(8, 9)))
    packed.store(1, PostState("q"))
    assert [packed.communities(row) for row in (0, 1, -1)] == [(7, 8, 9), (), ()]


def test_counts_end_at_the_largest_that_has_room() -> None:
    packed = PackedStates()
    state = PostState("p", counters=Counters(counts=[2**40, *[0] * (KINDS - 1)]))
    packed.store(0, state)
    assert packed.load(0, "p").counters.counts[0] == 2**32 - 1


def test_old_rows_are_found_within_a_range_and_free_ones_never() -> None:
    packed = PackedStates()
    for row, at_ms in enumerate((5, 50, 6, 7, 70)):
        packed.store(row, PostState("p", at_ms=at_ms))
    packed.free(2)
    assert packed.older_than(10, 0, 5) == [0, 3]
    assert packed.older_than(10, 1, 3) == []
    assert packed.older_than(71, 1, 5) == [1, 3, 4]
