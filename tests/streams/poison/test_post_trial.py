"""Which records are poison is found by trials, whatever else ends their processes."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.records import StoredRecord
from feedmill.streams.kafka.batches import Record
from feedmill.streams.poison.judging_child import CHUNK, Ended, find_poison


class Judge:
    """Is ended by the records at some offsets, and at some of its calls by nothing of its own."""

    def __init__(self, poison: set[int], ended_at: frozenset[int] = frozenset()) -> None:
        self._poison = poison
        self._ended_at = ended_at
        self.calls = 0

    def __call__(self, records: Sequence[Record], *, singly: bool) -> Ended | None:
        self.calls += 1
        if self.calls in self._ended_at:
            return Ended(0, "by chance")
        places = [i for i, one in enumerate(records) if one.offset in self._poison]
        if not places:
            return None
        return Ended(places[0] if singly else 0, f"poison at {records[places[0]].offset}")


def found(count: int, judge: Judge) -> dict[int, str]:
    records = [StoredRecord(offset) for offset in range(count)]
    return {one.record.offset: one.reason for one in find_poison(records, judge)}


@given(st.sets(st.integers(0, 199), max_size=12), st.integers(0, 200))
def test_all_poison_is_found_and_nothing_else(poison: set[int], count: int) -> None:
    expected = {at: f"poison at {at}" for at in poison if at < count}
    assert found(count, Judge(poison)) == expected


def test_records_that_end_nothing_are_judged_once_and_together() -> None:
    judge = Judge(set())
    assert found(10 * CHUNK, judge) == {}
    assert judge.calls == 10


@pytest.mark.parametrize("ended_at", [1, 2, 3])
def test_a_process_that_ends_once_by_something_else_makes_no_poison(ended_at: int) -> None:
    judge = Judge(set(), frozenset({ended_at}))
    assert found(3 * CHUNK, judge) == {}
    assert judge.calls == 4


def test_the_rest_of_a_chunk_is_tried_after_each_end() -> None:
    judge = Judge({3, 4, CHUNK - 1})
    assert set(found(2 * CHUNK, judge)) == {3, 4, CHUNK - 1}
    # Each by two ends, and what is behind the first two once more.
    assert judge.calls == 7
