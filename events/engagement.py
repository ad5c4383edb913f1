"""What somebody did with a post."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from feedmill.events.limits import MAX_SAFE_INTEGER, Id, Short, TimeMs

EngagementKind = Literal["impression", "click", "like", "reply", "share", "dwell", "hide", "report"]
ENGAGEMENT_KINDS: tuple[EngagementKind, ...] = (
    "impression",
    "click",
    "like",
    "reply",
    "share",
    "dwell",
    "hide",
    "report",
)

Count = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class Engagement(Struct, frozen=True, gc=False):
    """One engagement.  A repeated `event_id` of a post counts once within ten minutes."""

    post_id: Id
    user_id: Id
    kind: EngagementKind
    at_ms: TimeMs
    event_id: Id | None = None
    feed: Short | None = None
    feed_version: Count | None = None
    position: Count | None = None
    dwell_ms: Annotated[float, Meta(ge=0, le=86_400_000)] | None = None
