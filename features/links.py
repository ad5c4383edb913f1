"""A post's links: the words of their paths, their hosts, and how many there are.

Publishers write headlines into paths, and many hosts have telling names.  Links to platforms, where
everybody posts everything, are counted but not read.
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
# The address of a platform says nothing about who wrote what it leads to.
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
    """Return the words of the paths of a post's links, separated by blanks; "" if there are none.

    Scheme, host, query and fragment are left out, and so are links to platforms.
    """
    return " ".join(filter(None, map(_path_words, post.links or ())))


def is_platform(host: str) -> bool:
    """Say whether a host in canonical form, or a domain above it, is a platform."""
    parts = host.split(".")
    return any(".".join(parts[i:]) in PLATFORMS for i in range(len(parts) - 1))


def _path_words(url: str) -> str:
    host = host_of(url)
    if host is None or is_platform(host):
        return ""
    rest = _SCHEME.sub("", url.strip()).partition("#")[0].partition("?")[0]
    return " ".join(rest.partition("/")[2].translate(_SEPARATORS).split())


def path_texts(posts: Iterable[Post]) -> list[str]:
    """Return `path_words` of each post: a list of (posts) texts."""
    return [path_words(post) if post.links else "" for post in posts]


class LinkHosts(NamedTuple):
    """The hosts of one post's links.

    Attributes
    ----------
    hosts
        Of links that do not lead to a platform, in their order.
    platform_count
        How many links lead to a platform.
    link_count
        How many links there are, those without a host among them.
    """

    hosts: tuple[str, ...] = ()
    platform_count: int = 0
    link_count: int = 0

    @classmethod
    def of(cls, post: Post) -> LinkHosts:
        """Read the links of a post."""
        if not post.links:
            return cls()
        every = [host for host in map(host_of, post.links) if host]
        hosts = tuple(host for host in every if not is_platform(host))
        return cls(hosts, len(every) - len(hosts), len(post.links))


def link_matrix(links: Sequence[LinkHosts]) -> npt.NDArray[np.float32]:
    """Return `LINK_COLUMNS` of each post: (posts, 2) float32, counts as log1p."""
    counts = np.array([(post.link_count, post.platform_count) for post in links], dtype=np.float64)
    return np.log1p(counts.reshape(-1, 2)).astype(np.float32)


LINKS = FeatureGroup("links", LINK_COLUMNS, lambda batch: link_matrix(batch.link_hosts))
