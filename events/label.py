"""Labels of posts, from raters, reports and appeals.  Trainers read them, decisions do not."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.built_in import BUILT_IN_GATES
from feedmill.events.limits import Id, ShortText, TimeMs

# The built-in signals that learn from labels; a filter of one's own adds its name.
LABEL_TARGETS = (*BUILT_IN_GATES, "quality")

LabelTarget = Annotated[
    str, Meta(max_length=64, description="The signal that learns from the label")
]


class Label(Struct, frozen=True, gc=False, omit_defaults=True):
    """What somebody says that a signal of a post should be.

    The post is in the version that was current when the label was given.  A label with a
    `sampling_probability` is of a post that was drawn at random from all posts, also those that no
    feed shows.  It belongs to the audit: trainers that follow the topic judge challengers by it and
    never learn from it.
    """

    post_id: Id
    target: LabelTarget
    value: Annotated[float, Meta(ge=0, le=1)]
    source: ShortText
    at_ms: TimeMs
    sampling_probability: Annotated[float, Meta(gt=0, le=1)] | None = None
    note: ShortText | None = None
