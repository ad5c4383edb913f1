"""The records of `counters`."""

from __future__ import annotations

from random import Random

from builders.engagement_log import draw_log
from feedmill.streams.engagement.engagement_state import decode_state, encode_state
from feedmill.streams.engagement.partition_state import PartitionState


def test_a_state_reads_back_as_it_was_written() -> None:
    state = PartitionState()
    state.count(draw_log(Random(1), 50))
    assert len(state.changed) == 5
    for one in state.changed.values():
        assert decode_state(encode_state(one)) == one
