"""Engagements: what somebody did with a post."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from feedmill.events.limits import MAX_SAFE_INTEGER, EventId, EventTimeMs, ShortText

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
    """Somebody saw a post, or did something with it.  An `event_id` counts once in ten minutes.

    Attributes
    ----------
    post_id, user_id
        Who did it, and with which post.
    kind, at_ms
        What was done, and when, Unix milliseconds.
    event_id
        The same id of the same post counts once within ten minutes.
    feed, feed_version, position
        Where the post was shown: the feed, its version, and the place in it from 0.
    dwell_ms
        For how many milliseconds the post was looked at.
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
