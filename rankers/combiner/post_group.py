"""What decides which feeds a post may be in, but its author; posts share few of these."""

from __future__ import annotations

from typing import NamedTuple

from feedmill.events.post import Post


class PostGroup(NamedTuple):
    """Which feeds a post may be in: all that their settings match, but the author."""

    communities: tuple[str, ...]
    lang: str | None
    is_reply: bool

    @classmethod
    def of(cls, post: Post) -> PostGroup:
        """The group of a post."""
        communities = post.communities or ()
        if len(communities) > 1:
            communities = tuple(dict.fromkeys(communities))
        return cls(communities, post.lang, post.in_reply_to is not None)
