"""A post's links: the words of their paths, and their hosts.

Publishers write headlines into paths, and many hosts have telling names.  Links to platforms, where
everybody posts everything, are not read.
"""

from __future__ import annotations

import re

from feedmill.events.post import Post
from feedmill.features.hosts import domains_of_host, host_of

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


def path_words(post: Post) -> str:
    """Return the words of the paths of a post's links, separated by blanks; "" if there are none.

    Scheme, host, query and fragment are left out, and so are links to platforms.
    """
    return " ".join(filter(None, map(_path_words, post.links or ())))


def is_platform(host: str) -> bool:
    """Say whether a host in canonical form, or a domain above it, is a platform."""
    return not PLATFORMS.isdisjoint(domains_of_host(host))


def _path_words(url: str) -> str:
    host = host_of(url)
    if host is None or is_platform(host):
        return ""
    rest = _SCHEME.sub("", url.strip()).partition("#")[0].partition("?")[0]
    return " ".join(rest.partition("/")[2].translate(_SEPARATORS).split())


def linked_hosts(post: Post) -> tuple[str, ...]:
    """Return the hosts of a post's links that do not lead to a platform, in their order."""
    hosts = filter(None, map(host_of, post.links or ()))
    return tuple(host for host in hosts if not is_platform(host))
