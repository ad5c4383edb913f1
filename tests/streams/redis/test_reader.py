"""Redis read back: what both writers write, and when a feed counts as fresh."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot, State
from feedmill.streams.redis.signal_hash import SignalSnapshot, signal_fields

NOW_MS = 1_700_000_000_000


@given(
    value=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    model=st.sampled_from(["spam", "rule", "other"]),
    post_offset=st.sampled_from([7, 8]),
    error=st.sampled_from([None, "no memory"]),
)
def test_a_signal_reads_the_same_from_json_and_from_the_compact_form(
    value: float | None, model: str, post_offset: int, error: str | None
) -> None:
    post = {"post_offset": "7", "created_ms": str(NOW_MS)}
    signal = SignalSnapshot(value, model, "v1", post_offset, NOW_MS + 5, error)
    as_json = {
        "value": value,
        "model": model,
        "version": "v1",
        "post_offset": post_offset,
        "at_ms": NOW_MS + 5,
        **({} if error is None else {"error": error}),
    }
    compact = signal_fields("spam", signal, 7, NOW_MS)
    assert PostSnapshot("p", {**post, "spam": json.dumps(as_json)}).signal("spam") == signal
    assert PostSnapshot("p", {**post, **compact}).signal("spam") == signal
    assert PostSnapshot("p", post).signal("spam") is None


def test_a_feed_of_a_new_owner_is_starting_until_it_was_called_fresh() -> None:
    def state(owned_ms: int, fresh_ms: int) -> State:
        info = {
            "owner": "12",  # no time: the offset of a record
            "owned_since_ms": str(NOW_MS - owned_ms),
            "fresh_until_ms": str(NOW_MS + fresh_ms),
        }
        return FeedSnapshot("global", (), info).state(NOW_MS)

    assert state(owned_ms=1_000, fresh_ms=-1_000) == "starting"
    assert state(owned_ms=1_000, fresh_ms=14_000) == "fresh"
    assert state(owned_ms=30_000, fresh_ms=-1) == "stale"
    assert state(owned_ms=61_000, fresh_ms=-61_000) == "stale"
