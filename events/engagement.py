"""Engagements: what somebody did with a post."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from feedmill.events.limits import MAX_SAFE_INTEGER, EventId, EventTimeMs, ShortText

EngagementKind = Literal["impression", "click", "like", "reply", "share", "dwell", "hide", "report"]
ENGAGEMENT_KINDS: tuple[EngagementKind, ...] = get_args(EngagementKind)

Count = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class Engagement(Struct, frozen=True, gc=False):
    """Somebody saw a post, or did something with it.  An `event_id` counts once in ten minutes.

    `feed`, `feed_version` and `position`, from 0, say where the post was shown.
    """

    post_id: EventId
    user_id: EventId
    kind: EngagementKind
    at_ms: EventTimeMs
    event_id: EventId | None = None
    feed: ShortText | None = None
    feed_version: Count | None = None
    position: Count | None = None
    dwell_ms: Annotated[float, Meta(ge=0, le=86_400_000)] | None = None
