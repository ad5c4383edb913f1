"""What is too old is found, once a round, in calls that each find only so many."""

import numpy as np
import numpy.typing as npt
import pytest

from feedmill.rankers.combiner import expiry
from feedmill.rankers.combiner.expiry import ExpiryScan


def none_left_out(rows: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    return np.zeros(len(rows), bool)


@pytest.mark.parametrize("slice_rows", [1, 3, 10, 1000])
def test_a_round_finds_each_old_row_once(slice_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "_SLICE_ROWS", slice_rows)
    scan, at_ms = ExpiryScan(), np.arange(40)
    at_ms[::2] = 100
    old = set(range(1, 40, 2))
    for _ in range(3):
        found: list[int] = []
        for most in (3, 3, 3, 3, 3, 3, 2):
            found.extend(scan.next_rows(at_ms, 60, most, none_left_out).tolist())
        assert sorted(found) == sorted(old)
        assert set(scan.next_rows(at_ms, 60, None, none_left_out).tolist()) == old
    assert scan.next_rows(at_ms, 0, None, none_left_out).tolist() == []


def test_a_call_goes_on_where_the_last_one_stopped() -> None:
    scan, at_ms = ExpiryScan(), np.zeros(10, np.int64)
    calls = [scan.next_rows(at_ms, 1, 4, none_left_out).tolist() for _ in range(3)]
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_what_is_left_out_takes_nobodys_place() -> None:
    scan, at_ms = ExpiryScan(), np.zeros(10, np.int64)
    assert scan.next_rows(at_ms, 1, 2, lambda rows: rows < 7).tolist() == [7, 8]
    assert scan.next_rows(at_ms, 1, 2, lambda rows: rows < 7).tolist() == [9, 7]


def test_what_is_as_old_as_the_cutoff_is_not_too_old() -> None:
    rows = ExpiryScan().next_rows(np.array([5, 4, 6]), 5, None, none_left_out)
    assert (rows.tolist(), rows.dtype.name) == ([1], "int32")


def test_no_rows_no_expiry() -> None:
    assert ExpiryScan().next_rows(np.empty(0, np.int64), 5, None, none_left_out).tolist() == []
