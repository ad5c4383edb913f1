"""A record of `counters`: what the engagement step knows of a post.

Counters are a fold over the partition's events in the order of their offsets.  `through` is the
last offset counted in, so that an event that is read again is skipped.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from feedmill.features.counters import Counters

NO_OFFSET = -1


class PostState(Struct, gc=False):
    """One post, as it stands in `counters`; `post_offset` is -1 before the post was read."""

    post_id: str
    post_offset: int = NO_OFFSET
    prior: float = 0.0
    through: int = NO_OFFSET
    at_ms: int = 0
    counters: Counters = field(default_factory=Counters)


encode_state = msgspec.json.Encoder().encode
decode_state = msgspec.json.Decoder(PostState).decode
