"""A record of `features`: what the engagement model read for one of its values.

Only a sample of the values is logged, so that training can be compared with what was served.  Which
ones follows from their offsets alone: a value that is written again is chosen again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from feedmill.events.signal import Signal
from feedmill.features.counters import Counters
from feedmill.rankers.engagement import clicks_and_impressions
from feedmill.streams.engagement.packed_states import PostState

TOPIC = "features"
_HASHES = 1 << 32
_LARGEST_HASH = _HASHES - 1
# Knuth's multiplier: values in a row are spread evenly.
_SPREAD = 2_654_435_761


class FeatureRow(Struct, frozen=True):
    """What one value was made of; numbers are written in full, so that they read back exactly.

    Attributes
    ----------
    post_id, post_offset
        The post, and the version of which the value is.
    through
        The last offset of `engagements` that was counted; -1: none.
    model, version, at_ms
        Of the signal.
    value
        The signal's value, null where the model failed.
    prior
        What to expect of the post before anybody saw it, by the model that ran when it came.
    clicks, impressions
        What the model reads of `counters`.
    counters
        The counts and decayed sums of each kind, as `counters` has them.
    """

    post_id: str
    post_offset: int
    through: int
    model: str
    version: str
    at_ms: int
    value: float | None
    prior: float
    clicks: float
    impressions: float
    counters: Counters


def sample_limit(share: float) -> int:
    """Return below which hash a value is in a sample of this share, from 0 to 1."""
    return round(share * _HASHES)


def sampled(states: Sequence[tuple[int, PostState]], limit: int) -> list[int]:
    """Return which states, each with its partition, have a value in the sample: their places.

    In a partition an event belongs to one post, so the offsets of version and last event will do.
    """
    return [
        place
        for place, (_, state) in enumerate(states)
        if (state.post_offset + state.through) * _SPREAD & _LARGEST_HASH < limit
    ]


def feature_rows(
    chosen: Sequence[tuple[tuple[int, PostState], Signal]],
) -> list[tuple[int, FeatureRow]]:
    """Return the partition and the row of each signal, which was made of the state beside it."""
    counters = [state.kept_counters for (_, state), _ in chosen]
    all_clicks, all_impressions = clicks_and_impressions(counters)
    return [
        (
            partition,
            FeatureRow(
                state.post_id,
                state.post_offset,
                state.through,
                signal.model,
                signal.version,
                signal.at_ms,
                signal.value,
                state.prior,
                clicks,
                impressions,
                state.counters,
            ),
        )
        for ((partition, state), signal), clicks, impressions in zip(
            chosen, all_clicks.tolist(), all_impressions.tolist(), strict=True
        )
    ]


encode_row = msgspec.json.Encoder().encode
decode_row = msgspec.json.Decoder(FeatureRow).decode
