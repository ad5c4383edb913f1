"""What a rater, a report or an appeal says of a post; trainers read it, decisions do not."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from feedmill.events.limits import Id, Short, TimeMs


class Label(Struct, frozen=True, gc=False, omit_defaults=True):
    """A judged post, for training."""

    post_id: Id
    target: Literal["spam", "nsfw", "misinformation", "quality"]
    value: Annotated[float, Meta(ge=0, le=1)]
    source: Short
    at_ms: TimeMs
    note: Short | None = None
