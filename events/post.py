"""A post of the product, and its removal."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.limits import Id, Name, Sha256, Short, Text, TimeMs

Links = Annotated[tuple[str, ...], Meta(max_length=32)]
Names = Annotated[tuple[Name, ...], Meta(max_length=16)]
Labels = Annotated[tuple[Short, ...], Meta(max_length=16)]


class Media(Struct, frozen=True, gc=False):
    """A picture, video or sound that goes with a post."""

    url: str
    kind: Short
    sha256: Sha256 | None = None


class Post(Struct, frozen=True, gc=False):
    """What somebody published.  The record with the highest offset is the post."""

    post_id: Id
    author_id: Id
    created_at_ms: TimeMs
    text: Text
    lang: Name | None = None
    links: Links | None = None
    media: Annotated[tuple[Media, ...], Meta(max_length=16)] | None = None
    communities: Names | None = None
    in_reply_to: Id | None = None
    self_labels: Labels | None = None
    tenant: Name | None = None
    deleted: bool = False


class Deletion(Struct, frozen=True, gc=False):
    """The post is gone: an empty record value, or ``{"post_id": …, "deleted": true}``."""

    post_id: Id
    deleted: bool
