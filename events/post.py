"""Posts, and their deletions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.limits import EventId, EventName, EventTimeMs, Sha256, ShortText, Text

Links = Annotated[tuple[str, ...], Meta(max_length=32)]
Names = Annotated[tuple[EventName, ...], Meta(max_length=16)]
Labels = Annotated[tuple[ShortText, ...], Meta(max_length=16)]


class Media(Struct, frozen=True, gc=False):
    """A picture, a video or a sound of a post; `sha256` is that of its content."""

    url: str
    kind: ShortText
    sha256: Sha256 | None = None


class Post(Struct, frozen=True, gc=False):
    """A version of a post: the record with the highest offset is the post.

    `self_labels` are what its author says that it contains, such as ``nsfw``; `tenant` is reserved.
    """

    post_id: EventId
    author_id: EventId
    created_at_ms: EventTimeMs
    text: Text
    lang: EventName | None = None
    links: Links | None = None
    media: Annotated[tuple[Media, ...], Meta(max_length=16)] | None = None
    communities: Names | None = None
    in_reply_to: EventId | None = None
    self_labels: Labels | None = None
    tenant: EventName | None = None
    deleted: bool = False


class Deletion(Struct, frozen=True, gc=False):
    """The deletion of a post: an empty value, or ``{"post_id": …, "deleted": true}``."""

    post_id: EventId
    deleted: bool
