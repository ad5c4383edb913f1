"""A record of `counters`: what the engagement step knows of a post.

Counters are a fold over the partition's events in the order of their offsets.  `through` is the
last offset counted in, so that an event that is read again is skipped.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from feedmill.features.counters import Counters

NO_OFFSET = -1

_Offset = Annotated[int, Meta(ge=NO_OFFSET, le=2**63 - 1)]


class PostState(Struct, gc=False):
    """One post, as it stands in `counters`; `post_offset` is -1 before the post was read."""

    post_id: str
    post_offset: _Offset = NO_OFFSET
    prior: float = 0.0
    through: _Offset = NO_OFFSET
    at_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    counters: Counters = field(default_factory=Counters)


encode_state = msgspec.json.Encoder().encode
decode_state = msgspec.json.Decoder(PostState).decode
