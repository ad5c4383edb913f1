"""The hosts of a post's links, and of the addresses in its text.

Pure functions.  A host is in lower case and in IDNA's ASCII form, without `www.`, user, port and
final dot, so that two spellings of one host are equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList

from feedmill.events.post import Post

_MAX_HOST_CHARACTERS = 253
# Invisible characters are part of a run, so that they do not cut a host in two.
_AUTHORITY = "[^\\s/\\\\?#\"'<>`|{}^,;()]+"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}:"
_LINK = re.compile(rf"\s*(?:{_SCHEME})?[/\\]{{2,}}({_AUTHORITY})")
_WITHOUT_SCHEME = re.compile(rf"\s*({_AUTHORITY})")
# Possessive, so that a long run takes linear time.  What is followed by `@` is a mail address.
_DOT = r"[.\u3002\uff0e\uff61]"
_RUN = r"\w\u00ad\u200b-\u200d\u2060\ufeff-"
_ADDRESS_IN_TEXT = re.compile(
    rf"\bhttps?:[/\\]+({_AUTHORITY})(?:[/\\?#][^\s<>\"]*)?"
    rf"|(?<![.@/{_RUN}])(\w[{_RUN}]*+(?:{_DOT}[{_RUN}]++)++)(?!@)",
    re.IGNORECASE,
)
_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL.replace('9', '9_')}\.)+{_LABEL}\Z")
_LAST_LABEL = re.compile(r"\.(?:[a-z]{2,}|xn--[a-z0-9-]+)\Z")
_DOT_INSIDE = re.compile(rf"{_DOT}[^\s.]")
# The same in ASCII, at a fifth of the time: most texts are, and have no address.
_DOT_INSIDE_ASCII = re.compile(r"\.[^\s.]")


def hosts_of(post: Post) -> tuple[str, ...]:
    """Return the hosts of a post's links, then of its text, each once; not those of its media."""
    link_hosts = [host for link in post.links or () if (host := host_of(link))]
    return tuple(dict.fromkeys([*link_hosts, *hosts_in(post.text)]))


def domains_of_post(post: Post) -> Iterator[str]:
    """Yield every domain that has a host of the post's links, media and text in it.

    In canonical form, some of them more than once.
    """
    for host in hosts_of(post):
        yield from _with_parents(host)
    for media in post.media or ():
        yield from _with_parents(host_of(media.url) or "")


def _with_parents(host: str) -> Iterator[str]:
    while host:
        yield host
        host = host.partition(".")[2]


def hosts_in(text: str) -> Iterator[str]:
    """Yield the hosts of the addresses in a text, with a scheme or bare (`example.org/x`).

    In the order of the text, repeated ones too, without those of mail addresses.  A bare one may
    be no host after all, as in `end.Next`.
    """
    if not (_DOT_INSIDE_ASCII if text.isascii() else _DOT_INSIDE).search(text):
        return
    for with_scheme, bare in _ADDRESS_IN_TEXT.findall(text):
        host = canonical_host(_without_user(with_scheme) if with_scheme else bare)
        if host and (with_scheme or _LAST_LABEL.search(host)):
            yield host


def host_of(url: str) -> str | None:
    """Return the host of one address, with a scheme or without; None if it has no host."""
    match = _LINK.match(url) or _WITHOUT_SCHEME.match(url)
    return None if match is None else canonical_host(_without_user(match[1]))


def canonical_host(host: str) -> str | None:
    """Return a host in the form of this module, None if it is no host.

    Numeric addresses are hosts; a single name such as `localhost` is not.
    """
    if len(host) > 4 * _MAX_HOST_CHARACTERS:
        return None
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    host = host.lower().rstrip(".")
    if len(host) > _MAX_HOST_CHARACTERS or not _HOST.match(host):
        return None
    without_www = host.removeprefix("www.")
    return without_www if "." in without_www else host


def domains_of_host(host: str) -> list[str]:
    """Return a host in canonical form and the domains above it, to the one that was registered."""
    every = list(_with_parents(host))
    return every[: every.index(registered_domain(host)) + 1]


@lru_cache(maxsize=1 << 14)
def registered_domain(host: str) -> str:
    """Return the domain that somebody registered, by the public suffix list in its package.

    `news.example.co.uk` is of `example.co.uk`, `ann.github.io` of itself.  A numeric address, and a
    host that is a public suffix, come back as they are.
    """
    if host.rpartition(".")[2].isdigit():
        return host
    return _suffixes().privatesuffix(host) or host


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _without_user(authority: str) -> str:
    return authority.rpartition("@")[2].partition(":")[0]
