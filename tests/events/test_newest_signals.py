"""Of all records about a post the newest signal stays, in whatever order they come."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.newest_signals import NewestSignals
from feedmill.events.signal import Signal, SignalNames


def value_of(signal: Signal) -> float | None:
    return signal.value


def newest() -> NewestSignals[float]:
    return NewestSignals("spam", SignalNames(), value_of)


def encoded(value: float | None, offset: int = 1, revision: int = 0, **more: Any) -> bytes:
    content = {"post_id": "p", "post_offset": offset, "revision": revision, "value": value}
    if value is None:
        content["error"] = "failed"
    return msgspec.json.encode({**content, "model": "m", "version": "v", "at_ms": 1, **more})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_the_highest_offset_then_revision_then_the_last_record_counts(
    orders: list[tuple[int, int]],
) -> None:
    signals = newest()
    for number, (offset, revision) in enumerate(orders):
        signals.add(b"p", encoded(number / 10, offset, revision))
    last = max(range(len(orders)), key=lambda number: (orders[number], number))
    assert signals.get("p") == pytest.approx(last / 10)


def test_an_empty_record_withdraws_and_a_broken_one_changes_nothing() -> None:
    signals = newest()
    assert signals.get("p") is None
    signals.add(b"p", encoded(0.5))
    for key, value in ((b"p", b"{"), (None, encoded(0.7)), (b"\xff", b""), (b"q", b"")):
        signals.add(key, value)
    assert signals.get("p") == 0.5
    signals.add(b"p", b"")
    assert signals.get("p") is None
    signals.add(b"p", encoded(0.25))
    assert signals.get("p") == 0.25


def test_a_signal_of_which_nothing_is_kept_leaves_the_one_before() -> None:
    signals = newest()
    signals.add(b"p", encoded(0.5))
    signals.add(b"p", encoded(None, offset=2))
    assert signals.get("p") == 0.5
