"""What a rater, a report or an appeal says of a post; trainers read it, decisions do not."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.limits import Id, Short, SignalName, TimeMs


class Label(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a rater gives a post, for training; `target` is the signal that learns from it."""

    post_id: Id
    target: SignalName
    value: Annotated[float, Meta(ge=0, le=1)]
    source: Short
    at_ms: TimeMs
    note: Short | None = None
