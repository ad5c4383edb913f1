"""What the addresses of a post's links say: publishers write their headlines into paths.

Hosts have telling names, platforms left out; and a post with a link speaks of what it leads to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.features.feature_group import FeatureGroup
from feedmill.features.hosts import host_of

_SCHEME = re.compile(r"\A[a-z][a-z0-9+.-]{0,30}://", re.IGNORECASE)
_SEPARATORS = str.maketrans("-_/.+%=&", " " * 8)
# Where everybody posts everything, an address says nothing of who wrote it.
PLATFORMS = frozenset(
    (
        *("youtube.com", "youtu.be", "facebook.com", "fb.com", "twitter.com", "x.com", "t.co"),
        *("instagram.com", "reddit.com", "redd.it", "imgur.com", "tiktok.com", "github.com"),
        *("linkedin.com", "tumblr.com", "pinterest.com", "vimeo.com", "twitch.tv", "medium.com"),
        *("wikipedia.org", "archive.org", "web.archive.org", "google.com", "bit.ly", "bsky.app"),
    )
)

LINK_COLUMNS = ("log_links", "log_platform_links")


def path_words(post: Post) -> str:
    """Return the words of the post's links' paths, parted by blanks; "" where there are none.

    Neither scheme nor host nor query belong to them, and links to platforms are left out.
    """
    return " ".join(filter(None, map(_words, post.links or ())))


def is_platform(host: str) -> bool:
    """Say whether a host, or the domain above it, is a platform."""
    parts = host.split(".")
    return any(".".join(parts[i:]) in PLATFORMS for i in range(len(parts) - 1))


def _words(url: str) -> str:
    host = host_of(url)
    if host is None or is_platform(host):
        return ""
    rest = _SCHEME.sub("", url.strip()).partition("#")[0].partition("?")[0]
    return " ".join(rest.partition("/")[2].translate(_SEPARATORS).split())


def path_texts(posts: Iterable[Post]) -> list[str]:
    """Return `path_words` of each post."""
    return [path_words(post) if post.links else "" for post in posts]


class LinkHosts(NamedTuple):
    """The hosts of one post's links, those of platforms only counted."""

    own: tuple[str, ...] = ()
    platforms: int = 0
    links: int = 0

    @classmethod
    def of(cls, post: Post) -> LinkHosts:
        """Read a post's links; what has no host counts as a link."""
        if not post.links:
            return cls()
        hosts = [host for host in map(host_of, post.links) if host]
        own = tuple(host for host in hosts if not is_platform(host))
        return cls(own, len(hosts) - len(own), len(post.links))


def link_matrix(hosts: Sequence[LinkHosts]) -> npt.NDArray[np.float32]:
    """Return how many links each post has, and how many to platforms: (posts, 2), as log1p."""
    counts = np.array([(one.links, one.platforms) for one in hosts], dtype=np.float64)
    return np.log1p(counts.reshape(-1, 2)).astype(np.float32)


LINKS = FeatureGroup("links", LINK_COLUMNS, lambda batch: link_matrix(batch.link_hosts))
