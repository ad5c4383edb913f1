"""What the addresses of a post's links say: publishers write their headlines into paths.

Hosts have telling names, platforms left out; and a post with a link speaks of what it leads to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.features.links import host_of

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

LINK_NAMES = ("log_links", "log_platform_links")


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


def host_texts(posts: Iterable[Post]) -> list[str]:
    """Return the hosts of each post's links, parted by blanks, platforms left out."""
    return [
        " ".join(_hosts(post.links, of_platforms=False)) if post.links else "" for post in posts
    ]


def link_matrix(posts: Sequence[Post]) -> npt.NDArray[np.float32]:
    """Return how many links each post has, and how many to platforms: (posts, 2), as log1p."""
    counts = np.zeros((len(posts), 2))
    for row, post in enumerate(posts):
        if post.links:
            counts[row] = len(post.links), len(_hosts(post.links, of_platforms=True))
    return np.log1p(counts).astype(np.float32)


def _hosts(links: Iterable[str], *, of_platforms: bool) -> list[str]:
    found = filter(None, map(host_of, links))
    return [host for host in found if is_platform(host) is of_platforms]
