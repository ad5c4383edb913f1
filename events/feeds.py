"""Which posts a feed holds, and what a feed may be called."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from feedmill.events.errors import BadSetting
from feedmill.events.limits import NAME_PATTERN, Id, Name
from feedmill.events.partition import SHARDS

DEFAULT_MAX_FEEDS = 2048
FEED_PATTERNS = ("community:*", "lang:*")
_NAME = re.compile(NAME_PATTERN)

Size = Annotated[int, Meta(ge=1, le=10_000)]
Hours = Annotated[float, Meta(ge=0.01, le=87_600)]
MaxFeeds = Annotated[int, Meta(ge=1, le=1_000_000)]


class FeedMatch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Which posts match: those with an entry of every list that is not empty."""

    communities: tuple[Name, ...] = ()
    langs: tuple[Name, ...] = ()
    authors: tuple[Id, ...] = ()

    @property
    def restricts(self) -> bool:
        """Whether some posts do not match."""
        return bool(self.communities or self.langs or self.authors)


class FeedSpec(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The setting `feeds/<name>`; `max_feeds` is of patterns alone."""

    match: FeedMatch = msgspec.field(default_factory=FeedMatch)
    size: Size = 500
    window_hours: Hours = 168.0
    include_replies: bool = False
    max_feeds: MaxFeeds | UnsetType = UNSET

    @property
    def places(self) -> int:
        """How many feeds a pattern makes at most in each shard: its share, rounded up."""
        most = DEFAULT_MAX_FEEDS if self.max_feeds is UNSET else self.max_feeds
        return -(-most // SHARDS)


BUILT_IN_FEEDS = {name: FeedSpec() for name in ("global", *FEED_PATTERNS)}


def pattern_of(feed: str) -> str | None:
    """Return the pattern that a feed follows from, such as `community:*`; None for any other."""
    kind, colon, _ = feed.partition(":")
    return f"{kind}:*" if colon and f"{kind}:*" in FEED_PATTERNS else None


def check_feed_name(feed: str, *, pattern_allowed: bool = False) -> None:
    """Raise `BadSetting` unless a feed, or where allowed a pattern, can have this name."""
    if pattern_allowed and feed in FEED_PATTERNS:
        return
    name = feed.partition(":")[2] if pattern_of(feed) else feed
    if not _NAME.match(name):
        raise BadSetting(
            "Expected a feed: a name of 1 to 64 letters, digits, `.`, `_` and `-`, or such a name "
            f"after `community:` or `lang:`, got {feed[:80]!r}"
        )
