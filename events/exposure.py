"""Exposures: a page of a feed with an experiment was requested."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.engagement import Count
from feedmill.events.limits import EventId, EventName, EventTimeMs, ShortText

# No feed is longer.
MAX_FEED_SIZE = 10_000

Position = Annotated[int, Meta(ge=0, le=MAX_FEED_SIZE)]
Positions = Annotated[int, Meta(ge=1, le=MAX_FEED_SIZE)]


class Exposure(Struct, frozen=True, gc=False):
    """A user requested a page of a feed with an experiment; sent before the page is rendered.

    Attributes
    ----------
    user_id
        Who requested it.
    experiment, arm
        The experiment, and the arm that the user got.
    feed, version
        The feed, and the version of the list that was read.
    first, count
        The first position of the page, from 0, and how many posts were asked for.
    at_ms
        When, Unix milliseconds.
    served
        The arm whose list was read, where it is not the arm's own: the control.
    client
        Which program asked for the page, as `ios-4.2`: a report tells the clients apart.
    """

    user_id: EventId
    experiment: EventName
    arm: EventName
    feed: ShortText
    version: Count
    first: Position
    count: Positions
    at_ms: EventTimeMs
    served: EventName | None = None
    client: EventName | None = None
