"""The keys of an installation in Redis, all named here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# How long a tombstone keeps the token of what was removed.
TOMBSTONE_MS: Final = 24 * 3_600_000


@dataclass(frozen=True)
class Keys:
    """Every key begins with the prefix.  Keys that one script writes share a slot of a cluster."""

    prefix: str

    def feed(self, feed: str) -> str:
        """The sorted set of a feed."""
        return f"{self.prefix}feed:{{{feed}}}"

    def info(self, feed: str) -> str:
        """What the feed was ranked by, and how fresh it is."""
        return f"{self.prefix}feed:{{{feed}}}:info"

    def feed_copy(self, feed: str) -> str:
        """Where a whole feed is built before it takes the place of the old one."""
        return f"{self.prefix}feed:{{{feed}}}:new"

    def feed_tombstone(self, feed: str) -> str:
        """The token, and the last version, of a feed that was removed."""
        return f"{self.prefix}tombstone:{{{feed}}}"

    def signals(self, post_id: str) -> str:
        """The hash of a post."""
        return f"{self.prefix}signals:{post_id}"

    def post_tombstone(self, post_id: str) -> str:
        """The token of a post that was deleted; the braces give it the slot of the hash."""
        return f"{self.prefix}tombstone:{{{self.prefix}signals:{post_id}}}"

    @property
    def feed_index(self) -> str:
        """The sorted set of all feeds that exist, scored by the token of their owner."""
        return f"{self.prefix}feeds"

    @property
    def feed_changes(self) -> str:
        """The channel of changed feeds."""
        return f"{self.prefix}feed-changes"

    def flush_marker(self, run: str) -> str:
        """The key whose loss shows one run of a writer that Redis was flushed."""
        return f"{self.prefix}flush-marker:{run}"
