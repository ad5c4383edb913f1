"""What a rater, a report or an appeal says of a post; trainers read it, decisions do not."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.limits import Id, Short, TimeMs
from feedmill.events.signal import BUILT_IN_GATES

# The built-in signals that learn from labels; a filter of one's own adds its name.
LABEL_TARGETS = (*BUILT_IN_GATES, "quality")

Target = Annotated[str, Meta(max_length=64, description="The signal that learns from the label")]


class Label(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a rater gives a post, for training."""

    post_id: Id
    target: Target
    value: Annotated[float, Meta(ge=0, le=1)]
    source: Short
    at_ms: TimeMs
    note: Short | None = None
