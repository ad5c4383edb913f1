"""The hosts of a post's links, and of the addresses in its text.

Pure functions.  A host is in lower case and in IDNA's ASCII form, without `www.`, user, port and
final dot, so that two spellings of one host are equal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain

from publicsuffixlist import PublicSuffixList

from feedmill.events.post import Post
from feedmill.features.international_hosts import to_ascii
from feedmill.features.text.remembered import remembered

_MAX_HOST_CHARACTERS = 253
# In which that is looked for: marks and final dots may come before it is in its form.
_MAX_WRITTEN = 4 * _MAX_HOST_CHARACTERS
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
# Possessive, too, but for the group: in Python 3.11 one that fails does not go back to its start.
_LABEL = "[a-z0-9]++(?:-++[a-z0-9]++)*"
_INNER_LABEL = _LABEL.replace("9", "9_")
# The last label of an address without a scheme: `1.5` is none.
_TOP_LEVEL = "[a-z]{2,}+|xn--[a-z0-9-]*[a-z0-9]"
# In a line each; `www.` belongs to a host where only one label is behind it.
_CANONICAL = re.compile(
    rf"^(?=.{{0,{_MAX_HOST_CHARACTERS}}}+\.{{0,{_MAX_WRITTEN - _MAX_HOST_CHARACTERS}}}$)"
    r"(?:www\.(?=[a-z0-9_-]+\.[a-z0-9_]))?"
    rf"((?:{_INNER_LABEL}\.)+(?:({_TOP_LEVEL})|{_LABEL}))\.*$|^.*$",
    re.MULTILINE,
)
_DOT_INSIDE = re.compile(rf"{_DOT}[^\s.]")
# The same in ASCII, at a fifth of the time: most texts are, and have no address.
_DOT_INSIDE_ASCII = re.compile(r"\.[^\s.]")


def hosts_of(post: Post) -> tuple[str, ...]:
    """Return the hosts of a post's links, then of its text, each once; not those of its media."""
    link_hosts = [host for link in post.links or () if (host := host_of(link))]
    in_text = _split(_lines_of_hosts(post.text)) if _has_dot_inside(post.text) else ()
    return tuple(dict.fromkeys([*link_hosts, *in_text]))


def domains_of_post(post: Post) -> Collection[str]:
    """Return every domain that has a host of the post's links, media and text in it.

    In canonical form, each once.
    """
    links = chain(post.links or (), (media.url for media in post.media or ()))
    linked = _domains(host for link in links if (host := host_of(link)))
    in_text = _split(_lines_of_domains(post.text)) if _has_dot_inside(post.text) else ()
    return dict.fromkeys([*linked, *in_text]) if linked else in_text


@remembered
def _lines_of_hosts(text: str) -> str:
    return "\n".join(dict.fromkeys(hosts_in(text)))


@remembered
def _lines_of_domains(text: str) -> str:
    return "\n".join(_domains(_split(_lines_of_hosts(text))))


def _has_dot_inside(text: str) -> bool:
    return (_DOT_INSIDE_ASCII if text.isascii() else _DOT_INSIDE).search(text) is not None


def _split(lines: str) -> Sequence[str]:
    return lines.split("\n") if lines else ()


def _domains(hosts: Iterable[str]) -> dict[str, None]:
    """Return hosts and the domains above them, each once."""
    domains: dict[str, None] = {}
    for host in hosts:
        # Above a domain that is known all are.
        while host and host not in domains:
            domains[host] = None
            host = host.partition(".")[2]  # noqa: PLW2901 - the domain above
    return domains


def _with_parents(host: str) -> Iterator[str]:
    while host:
        yield host
        host = host.partition(".")[2]


def hosts_in(text: str) -> Sequence[str]:
    """Return the hosts of the addresses in a text, with a scheme or bare (`example.org/x`).

    In the order of the text, repeated ones too, without those of mail addresses.  A bare one may
    be no host after all, as in `end.Next`.
    """
    if not _has_dot_inside(text):
        return ()
    found = _ADDRESS_IN_TEXT.findall(text)
    written = [_without_user(with_scheme) if with_scheme else bare for with_scheme, bare in found]
    return [
        host
        for (with_scheme, _), (host, last) in zip(found, _canonical_hosts(written), strict=True)
        if last or (host and with_scheme)
    ]


def host_of(url: str) -> str | None:
    """Return the host of one address, with a scheme or without; None if it has no host."""
    match = _LINK.match(url) or _WITHOUT_SCHEME.match(url)
    return None if match is None else canonical_host(_without_user(match[1]))


def canonical_host(host: str) -> str | None:
    """Return a host in the form of this module, None if it is no host.

    Numeric addresses are hosts; a single name such as `localhost` is not.
    """
    return None if "\n" in host else _canonical_hosts([host])[0][0] or None


def _canonical_hosts(hosts: Sequence[str]) -> Sequence[tuple[str, str]]:
    """As `canonical_host`, of many without line breaks at once; "" where there is no host.

    With its last label, if one without a scheme may end so.
    """
    lines = "\n".join(hosts)
    if not lines.isascii():
        international = [host for host in hosts if not host.isascii()]
        short = [host.rstrip(".") if len(host) <= _MAX_WRITTEN else "" for host in international]
        in_ascii = dict(zip(international, to_ascii(short), strict=True))
        lines = "\n".join([in_ascii.get(host, host) or "" for host in hosts])
    found: list[tuple[str, str]] = _CANONICAL.findall(lines.lower()) if hosts else []
    return found


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
