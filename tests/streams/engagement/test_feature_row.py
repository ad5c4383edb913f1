"""Which values are logged, and that a row reads back exactly."""

import pytest

from builders.events import signal
from feedmill.features.counters import Counters
from feedmill.streams.engagement.feature_row import (
    decode_row,
    encode_row,
    feature_rows,
    sample_limit,
    sampled,
)
from feedmill.streams.engagement.packed_states import PostState


def logged(states: list[PostState], share: float) -> int:
    rows, limit = [(0, one) for one in states], sample_limit(share)
    found = sampled(rows, limit)
    assert sampled(rows, limit) == found  # it follows from the states alone
    return len(found)


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_the_sample_has_its_share_of_posts_and_of_each_posts_values(share: float) -> None:
    new_posts = [PostState(f"p{number}", number) for number in range(20_000)]
    assert logged(new_posts, share) == pytest.approx(share * 20_000, rel=0.1)
    for post_offset in range(4):
        values = [PostState("p", post_offset, through=n * 7) for n in range(20_000)]
        assert logged(values, share) == pytest.approx(share * 20_000, rel=0.1)


def test_a_row_reads_back_to_the_bit() -> None:
    sums = [0.1 + 0.2, 1e-17, 5e-324, 1 / 3, 0.0, 2.0**60, *[0.0] * 5]
    counts = [9, 8, 7, 6, 5, 4, 3, 2**32 - 1, 0, 0, 0]
    counters = Counters(counts, sums, [1_700_000_000_000] * 11, 12)
    states = [PostState("p", 3, 1 / 7, 2**62, 5, counters), PostState("q", 4, 0.0)]
    signals = [signal("p", 3, 0.25), signal("q", 4, None)]
    found = feature_rows(list(zip([(0, states[0]), (2, states[1])], signals, strict=True)))
    assert [partition for partition, _ in found] == [0, 2]
    rows = [row for _, row in found]
    assert [decode_row(encode_row(row)) for row in rows] == rows
    assert rows[0].clicks == max(sums[1], sums[2], sums[3], sums[4])
    assert (rows[0].impressions, rows[0].prior) == (sums[0], 1 / 7)
    assert (rows[1].value, rows[1].impressions) == (None, 0.0)
