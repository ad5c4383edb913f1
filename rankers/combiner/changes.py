"""What the combiner hands out to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from feedmill.events.gates import GatePolicy
from feedmill.events.weights import Weights


@dataclass(frozen=True)
class SignalsChange:
    """What to write to `signals:<post_id>`; without fields the key is to be removed.

    `whole`: the fields are all there are.  A field that is empty is to be removed.
    """

    post_id: str
    expires_at_ms: int
    whole: bool
    fields: Mapping[str, str | bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class FeedChange:
    """What to write to one feed, at once.

    `whole`: `entries` are all members, in order; else only those that are new or moved,
    and `removed` leave.  `size` is the number of members afterwards.
    """

    feed: str
    whole: bool
    entries: Sequence[tuple[str, float]]
    removed: Sequence[str]
    size: int
    weights: Weights
    gates: Mapping[str, GatePolicy]
    config_offset: int

    @property
    def is_renewal(self) -> bool:
        """Whether nothing changes but the freshness."""
        return not self.whole and not self.entries and not self.removed
