"""Where a post leads: the hosts of its links and of the addresses that stand in its text.

Pure functions.  A host is lower case, in the ASCII form of IDNA, without `www.`, user, port and
closing dot, so that two spellings of one host are equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from feedmill.events.post import Post

_MAX_HOST = 253
# Invisible characters belong to the run, so that one of them does not cut a host in two.
_AUTHORITY = "[^\\s/\\\\?#\"'<>`|{}^,;()]+"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}:"
_LINK = re.compile(rf"\s*(?:{_SCHEME})?[/\\]{{2,}}({_AUTHORITY})")
_WITHOUT_SCHEME = re.compile(rf"\s*({_AUTHORITY})")
# Possessive, so that a long run is looked at once; what stands before `@` is a mail address.
_RUN = r"\w\u00ad\u200b-\u200d\u2060\ufeff-"
_IN_TEXT = re.compile(
    rf"\bhttps?:[/\\]+({_AUTHORITY})(?:[/\\?#][^\s<>\"]*)?"
    rf"|(?<![.@/{_RUN}])(\w[{_RUN}]*+(?:[.\u3002\uff0e\uff61][{_RUN}]++)++)(?!@)",
    re.IGNORECASE,
)
_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL.replace('9', '9_')}\.)+{_LABEL}\Z")
_LAST_LABEL = re.compile(r"\.(?:[a-z]{2,}|xn--[a-z0-9-]+)\Z")
_DOT_INSIDE = re.compile(r"[.\u3002\uff0e\uff61][^\s.]")


def hosts_of(post: Post) -> tuple[str, ...]:
    """The hosts of a post's links, then of its text, each once; media are not among them."""
    found = [host for link in post.links or () if (host := host_of(link))]
    return tuple(dict.fromkeys([*found, *hosts_in(post.text)]))


def hosts_in(text: str) -> Iterator[str]:
    """The hosts of addresses in a text, with a scheme or bare (`example.org/x`), as they stand.

    Hosts of mail addresses are none.  A bare one may be no host after all, as in `end.Next`.
    """
    if not _DOT_INSIDE.search(text):
        return
    for with_scheme, bare in _IN_TEXT.findall(text):
        host = canonical_host(_without_user(with_scheme) if with_scheme else bare)
        if host and (with_scheme or _LAST_LABEL.search(host)):
            yield host


def host_of(url: str) -> str | None:
    """The host of one address, which may lack its scheme; None where it has none."""
    match = _LINK.match(url) or _WITHOUT_SCHEME.match(url)
    return None if match is None else canonical_host(_without_user(match[1]))


def canonical_host(host: str) -> str | None:
    """A host as this module writes it, None unless it is one; numeric addresses are hosts."""
    if len(host) > 4 * _MAX_HOST:
        return None
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    host = host.lower().rstrip(".")
    if len(host) > _MAX_HOST or not _HOST.match(host):
        return None
    shorter = host.removeprefix("www.")
    return shorter if "." in shorter else host


def _without_user(authority: str) -> str:
    return authority.rpartition("@")[2].partition(":")[0]
