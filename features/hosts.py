"""The hosts and the words of a post's links, and the hosts of the addresses in its text.

Publishers write headlines into paths, and many hosts have telling names.  Links to platforms, where
everybody posts everything, are not read by models.  A host is in lower case and in IDNA's ASCII
form, without `www.`, user, port and final dot, so that two spellings of one host are equal.
"""

from __future__ import annotations

import re
import stringprep
from collections.abc import Collection, Iterable, Sequence
from functools import cache, lru_cache
from itertools import chain, groupby
from typing import NamedTuple
from unicodedata import combining, is_normalized, ucd_3_2_0

import numpy as np
import numpy.typing as npt
from publicsuffixlist import PublicSuffixList

from feedmill.events.post import Post
from feedmill.features.text.byte_rows import Bytes, Indices
from feedmill.features.text.code_points import (
    CharacterTable,
    CodePoints,
    Flags,
    code_points,
    text_of,
)
from feedmill.features.text.normalise import MANY_MARKS, MOST_MARKS, remembered

Numbers = npt.NDArray[np.int32]

# Python's codec writes so few in less time than numpy takes.
_FEW_LETTERS = 64
_LONGEST_LABEL, _PREFIX = 63, b"xn--"
_NEW_LINE, _DOT, _HYPHEN = b"\n.-"
# The parameters of Punycode.
_BASE, _T_MIN, _T_MAX, _SKEW, _DAMP, _FIRST_BIAS, _FIRST_CODE = 36, 1, 26, 38, 700, 72, 128
_DIGITS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", dtype=np.uint8)
# What a character may be, as bits.
_PROHIBITED, _RIGHT_TO_LEFT, _LEFT_TO_RIGHT, _MARK = 1, 2, 4, 8
# In the place of a character that does not become a single one.
_NOT_ONE = 0x110000
_PROHIBITING = (
    *(stringprep.in_table_c12, stringprep.in_table_c22, stringprep.in_table_c3),
    *(stringprep.in_table_c4, stringprep.in_table_c5, stringprep.in_table_c6),
    *(stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9),
)
_MAX_HOST_CHARACTERS = 253
# In which that is looked for: marks and final dots may come before it is in its form.
_MAX_WRITTEN = 4 * _MAX_HOST_CHARACTERS
# Invisible characters are part of a run, so that they do not cut a host in two.
_AUTHORITY = "[^\\s/\\\\?#\"'<>`|{}^,;()]+"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}:"
_LINK = re.compile(rf"\s*(?:{_SCHEME})?[/\\]{{2,}}({_AUTHORITY})")
_WITHOUT_SCHEME = re.compile(rf"\s*({_AUTHORITY})")
# Possessive, so that a long run takes linear time.  What is followed by `@` is a mail address.
_ANY_DOT = r"[.\u3002\uff0e\uff61]"
_RUN = r"\w\u00ad\u200b-\u200d\u2060\ufeff-"
_ADDRESS_IN_TEXT = re.compile(
    rf"\bhttps?:[/\\]+({_AUTHORITY})(?:[/\\?#][^\s<>\"]*)?"
    rf"|(?<![.@/{_RUN}])(\w[{_RUN}]*+(?:{_ANY_DOT}[{_RUN}]++)++)(?!@)",
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
_DOT_INSIDE = re.compile(rf"{_ANY_DOT}[^\s.]")
# The same in ASCII, at a fifth of the time: most texts are, and have no address.
_DOT_INSIDE_ASCII = re.compile(r"\.[^\s.]")

_SCHEME_AT_START = re.compile(r"\A[a-z][a-z0-9+.-]{0,30}://", re.IGNORECASE)
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


class _Prepared(dict[int, str]):
    """What each character becomes: one, none or several; looked up the first time that it comes."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        prepared = "" if stringprep.in_table_b1(char) else stringprep.map_table_b2(char)
        self[code] = prepared
        return prepared


_PREPARED = _Prepared(dict.fromkeys(map(ord, ".\u3002\uff0e\uff61"), "."))


def _prepared_one(char: str) -> int:
    prepared = _PREPARED[ord(char)]
    return ord(prepared) if len(prepared) == 1 else _NOT_ONE


def _kind(char: str) -> int:
    kind = _PROHIBITED * any(is_in(char) for is_in in _PROHIBITING)
    kind |= _RIGHT_TO_LEFT * stringprep.in_table_d1(char)
    return kind | _LEFT_TO_RIGHT * stringprep.in_table_d2(char) | _MARK * (combining(char) > 0)


_PREPARED_ONE, _KINDS = CharacterTable(_prepared_one, np.uint32), CharacterTable(_kind, np.uint8)


class _Labels(NamedTuple):
    """The labels of hosts: label i is ``codes[starts[i]:ends[i]]``, and behind it stands one sign.

    That is a dot, or a line break behind the last one of a host.
    """

    codes: CodePoints
    starts: Indices
    ends: Indices


def to_ascii(hosts: Sequence[str]) -> list[str | None]:
    """Return hosts in ASCII, None where that cannot be; they have no blanks."""
    if sum(map(len, hosts)) <= _FEW_LETTERS:
        return [*map(_by_codec, hosts)]
    joined = "\n".join(hosts) + "\n"
    if (_KINDS.of(code_points(joined)) & _MARK).any():
        joined = "\n".join("" if _has_many_marks(host) else host for host in hosts) + "\n"
    ones = _PREPARED_ONE.of(code_points(joined))
    joined = joined.translate(_PREPARED) if ones.max() == _NOT_ONE else text_of(ones)
    if not is_normalized("NFKC", joined):
        # The older Unicode that IDNA has takes several times as long to find that out.
        joined = "".join(
            line if is_normalized("NFKC", line) else ucd_3_2_0.normalize("NFKC", line)
            for line in joined.splitlines(keepends=True)
        )
    codes = code_points(joined).astype(np.uint32)
    ends = ((codes == _DOT) | (codes == _NEW_LINE)).nonzero()[0]
    labels = _Labels(codes, np.append(0, ends[:-1] + 1), ends)
    sizes = labels.ends - labels.starts
    is_last = codes[ends] == _NEW_LINE
    is_good = _is_allowed(labels) & (sizes <= _LONGEST_LABEL)
    # Behind the dot at the end of a host stands an empty label.
    is_good &= (sizes > 0) | (is_last & np.append(False, ~is_last[:-1]))
    text, sizes = _written(labels, is_good)
    is_good &= sizes <= _LONGEST_LABEL
    host_of = is_last.cumsum() - is_last
    bad = set(host_of[~is_good].tolist())
    lines = text.decode("ascii").split("\n")[:-1]
    return [None if number in bad else line for number, line in enumerate(lines)]


def _by_codec(host: str) -> str | None:
    try:
        return None if _has_many_marks(host) else host.encode("idna").decode("ascii")
    except UnicodeError:
        return None


def _has_many_marks(host: str) -> bool:
    """Say whether so many marks stand in a row that it takes long to put them in order."""
    if not MANY_MARKS.search(host):
        return False
    # Letters beyond the first plane match, too.
    runs = groupby(host, lambda char: combining(char) > 0)
    return any(is_mark and len([*run]) >= MOST_MARKS for is_mark, run in runs)


def _is_allowed(labels: _Labels) -> Flags:
    """Say which labels have no prohibited letters, and run in one direction: (labels,)."""
    codes, starts, ends = labels
    kinds = _KINDS.of(codes)
    found = np.bitwise_or.reduceat(kinds, starts)
    right = found & _RIGHT_TO_LEFT != 0
    begins = kinds[starts] & _RIGHT_TO_LEFT != 0
    finishes = kinds[np.maximum(ends - 1, starts)] & _RIGHT_TO_LEFT != 0
    is_allowed: Flags = ~right | (begins & finishes & (found & _LEFT_TO_RIGHT == 0))
    is_allowed &= found & _PROHIBITED == 0
    # What begins so already cannot be written so once more.
    is_long = ends - starts > len(_PREFIX)
    has_prefix = is_long.copy()
    for place, char in enumerate(_PREFIX):
        has_prefix &= codes.take(starts + place, mode="clip") == char
    return is_allowed & ~(has_prefix & (np.maximum.reduceat(codes, starts) > 127))


def _written(labels: _Labels, is_good: Flags) -> tuple[bytes, Indices]:
    """Return the labels in ASCII, each with the sign behind it, and their sizes.

    Those that are not good are empty.
    """
    codes, starts, ends = labels
    sizes = np.where(is_good, ends - starts, 0)
    owner = np.arange(len(starts)).repeat(sizes)
    place = np.arange(len(owner)) - (sizes.cumsum() - sizes).take(owner)
    chars = codes.take(starts.take(owner) + place)
    is_basic = chars < _FIRST_CODE
    basics = np.bincount(owner[is_basic], minlength=len(starts))
    is_coded = sizes > basics
    owner_of_digits, digits = _punycode(chars, owner, place, basics)
    counts = np.bincount(owner_of_digits, minlength=len(starts))
    heads = np.where(is_coded, len(_PREFIX), 0)
    hyphens = (is_coded & (basics > 0)).astype(np.int64)
    sizes = heads + basics + hyphens + counts
    firsts = (sizes + 1).cumsum() - sizes - 1
    text = np.empty(int((sizes + 1).sum()), dtype=np.uint8)
    text[firsts + sizes] = codes[ends]
    for at, char in enumerate(_PREFIX):
        text[firsts[is_coded] + at] = char
    behind_head = firsts + heads
    text[_places(owner[is_basic], basics, behind_head)] = chars[is_basic]
    text[(behind_head + basics)[hyphens > 0]] = _HYPHEN
    text[_places(owner_of_digits, counts, behind_head + basics + hyphens)] = digits
    return text.tobytes(), sizes


def _places(owner: Indices, counts: Indices, firsts: Indices) -> Indices:
    """Return where characters go, those of each label one after the other: (characters,)."""
    before = counts.cumsum() - counts
    places: Indices = np.arange(len(owner)) + (firsts - before).take(owner)
    return places


def _punycode(
    chars: CodePoints, owner: Indices, place: Indices, basics: Indices
) -> tuple[Indices, Bytes]:
    """Return the digits for the characters beyond ASCII, and whose they are: (digits,) each."""
    codes, short_place = chars.astype(np.int32), place.astype(np.int8)
    # How many characters stand before each that are written earlier: among them it is put in.
    counted = np.zeros(len(codes), dtype=np.int8)
    for back in range(1, int(place.max(initial=0)) + 1):
        is_earlier = codes[:-back] <= codes[back:]
        is_earlier &= short_place[back:] >= back
        counted[back:] += is_earlier
    beyond = (codes >= _FIRST_CODE).nonzero()[0]
    # By label, code point and place, in one number.
    keys = owner[beyond] << 27 | chars[beyond].astype(np.int64) << 6 | place[beyond]
    # They nearly are in this order, which a stable sort makes use of.
    beyond = beyond[np.argsort(keys, kind="stable")]
    codes, owner, earlier = codes[beyond], owner[beyond], counted[beyond].astype(np.int32)
    is_first = np.diff(owner, prepend=-1) != 0
    firsts = is_first.nonzero()[0]
    number = np.arange(len(owner)) - firsts.repeat(np.diff(firsts, append=len(owner)))
    written = (basics[owner] + number + 1).astype(np.int32)
    codes_before, at = np.roll(codes, 1), np.roll(earlier, 1) + 1
    codes_before[is_first], at[is_first] = _FIRST_CODE, 0
    deltas = (codes - codes_before) * written + earlier - at
    biases = np.roll(_adapted(deltas, written, is_first), 1)
    biases[is_first] = _FIRST_BIAS
    digits, counts = _variable_lengths(deltas, biases)
    return owner.repeat(counts), digits


def _adapted(deltas: Numbers, written: Numbers, is_first: Flags) -> Numbers:
    """Return the bias for the delta that comes next: section 6.1."""
    deltas = np.where(is_first, deltas // _DAMP, deltas // 2)
    deltas += deltas // written
    biases = np.zeros(len(deltas), dtype=np.int32)
    most = (_BASE - _T_MIN) * _T_MAX // 2
    while (is_large := deltas > most).any():
        deltas = np.where(is_large, deltas // (_BASE - _T_MIN), deltas)
        biases[is_large] += _BASE
    return biases + (_BASE - _T_MIN + 1) * deltas // (deltas + _SKEW)


def _variable_lengths(deltas: Numbers, biases: Numbers) -> tuple[Bytes, Indices]:
    """Return the digits of all deltas, and how many each has: section 6.3."""
    open_ones, rest, weight = np.arange(len(deltas)), deltas, 0
    owners, digits = [open_ones[:0]], [deltas[:0]]
    while len(open_ones):
        weight += _BASE
        least = np.clip(weight - biases, _T_MIN, _T_MAX)
        above = rest - least
        more = above // (_BASE - least)
        owners.append(open_ones)
        digits.append(np.where(above < 0, rest, rest - more * (_BASE - least)))
        is_open = (above >= 0).nonzero()[0]
        open_ones, rest, biases = open_ones[is_open], more[is_open], biases[is_open]
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return _DIGITS.take(np.concatenate(digits)[order]), np.bincount(owner)


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
    every = [*_domains([host])]
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
    rest = _SCHEME_AT_START.sub("", url.strip()).partition("#")[0].partition("?")[0]
    return " ".join(rest.partition("/")[2].translate(_SEPARATORS).split())


def linked_hosts(post: Post) -> tuple[str, ...]:
    """Return the hosts of a post's links that do not lead to a platform, in their order."""
    hosts = filter(None, map(host_of, post.links or ()))
    return tuple(host for host in hosts if not is_platform(host))
