"""Operators' rules of one filter, compiled once and matched against every post.

No I/O and no clock.  `events/rules.py` has checked the rules before.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category, normalize

import numpy as np
import re2

from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.events.rules import Rule, RuleAction, compile_pattern
from feedmill.features.hosts import canonical_host, domains_of_post
from feedmill.features.text.normalise import normalise

VERDICT_RANK: Mapping[RuleAction, int] = {"allow": 0, "hide": 1, "demote": 2}
_ALL_PATTERNS_MEMORY = 32 * 1024 * 1024
# In scripts without blanks each character is a word, so that a phrase is found within a sentence.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Combining marks belong to their letter, but `\w` does not match them.
_MARKS = "".join(c for c in map(chr, range(0x300, 0x1D00)) if category(c)[0] == "M")
_LETTERS = f"(?:[^\\W_{_UNSPACED}][{_MARKS}]*)+|[{_UNSPACED}]"
_PUNCTUATION = (
    "!-#%-*,-/:;?@\\[-\\]_{}\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf"
    "\u2000-\u206f\u3000-\u303f\ufe00-\ufe0f"
)
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff]"
)
# Undoing disguises costs more than all else here.  In ASCII there may be one only where signs stand
# beside letters, letters stand apart, or there is a tag.
_SIGN = re.compile("[4@31!05$7<]")
_SIGN_BESIDE_LETTER = re.compile("[A-Za-z][4@3105$7]|[4@31!05$7][A-Za-z]|<")
_APART = re.compile(r"\s\S\s\S\s")
_WORD = re.compile(_LETTERS)
_ASCII_WORD = re.compile("[a-z0-9]+")
_WORD_OR_SYMBOL = re.compile(f"{_LETTERS}|[^\\s\\w{_PUNCTUATION}{_MARKS}]")


@dataclass(frozen=True)
class RuleMatch:
    """The rule that decides for a post."""

    verdict: RuleAction
    rule: str


class RuleSet:
    """The rules of one filter, with the entries of each kind in a table.

    A rule matches a post that has any of its entries.  Of several that match, `allow` goes before
    `hide`, `hide` before `demote`, then the first by name.  A post without a match costs a look-up
    for each word, host, hash and label, and one search for all patterns at once, so that the cost
    does not grow with the number of rules.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        ranked = sorted(rules.items(), key=lambda item: (VERDICT_RANK[item[1].verdict], item[0]))
        self._matches = [RuleMatch(rule.verdict, name) for name, rule in ranked]
        self._ends_ms = [
            math.inf if rule.expires_at_ms is None else rule.expires_at_ms for _, rule in ranked
        ]
        self._authors = _table(
            (author, i) for i, (_, r) in enumerate(ranked) for author in r.authors
        )
        self._labels = _table(
            (label.casefold(), i) for i, (_, r) in enumerate(ranked) for label in r.self_labels
        )
        self._hashes = _table(
            (sha256.lower(), i) for i, (_, r) in enumerate(ranked) for sha256 in r.media_sha256
        )
        self._domains = _table(
            (canonical_host(domain) or "", i)
            for i, (_, r) in enumerate(ranked)
            for domain in r.domains
        )
        self._phrases = _Phrases((p, i) for i, (_, r) in enumerate(ranked) for p in r.phrases)
        self._patterns = _Patterns((p, i) for i, (_, r) in enumerate(ranked) for p in r.patterns)

    def __len__(self) -> int:
        return len(self._matches)

    def verdicts(self, posts: Sequence[Post], at_ms: Sequence[int]) -> list[RuleMatch | None]:
        """The rule that decides for each post, None where no rule matches.

        Parameters
        ----------
        posts
            n posts.
        at_ms
            For each post the timestamp of its record, Unix milliseconds.  A rule holds before its
            `expires_at_ms`; by the record's time a post gets the same verdict whenever it is read.
        """
        if not self._matches:
            return [None] * len(posts)
        return [self._verdict(post, now) for post, now in zip(posts, at_ms, strict=True)]

    def _verdict(self, post: Post, at_ms: int) -> RuleMatch | None:
        best = min((i for i in self._matching(post) if at_ms < self._ends_ms[i]), default=None)
        return None if best is None else self._matches[best]

    def _matching(self, post: Post) -> Iterator[int]:
        """The ranks of the rules that match, some of them more than once."""
        yield from self._authors.get(post.author_id, ())
        if post.self_labels and self._labels:
            for label in post.self_labels:
                yield from self._labels.get(label.casefold(), ())
        if post.media and self._hashes:
            for media in post.media:
                if media.sha256:
                    yield from self._hashes.get(media.sha256.lower(), ())
        if self._domains:
            for domain in domains_of_post(post):
                yield from self._domains.get(domain, ())
        if self._phrases or self._patterns:
            yield from self._matching_text(post.text)

    def _matching_text(self, text: str) -> Iterator[int]:
        yield from self._patterns.matching(text)
        visible = _visible(text)
        yield from self._phrases.matching(visible)
        if visible != text:
            yield from self._patterns.matching(visible)
        if not _may_be_disguised(visible):
            return
        undisguised = normalise(text)
        if undisguised != visible:
            yield from self._phrases.matching(undisguised)
            yield from self._patterns.matching(undisguised)


def demoting_value(gates: Iterable[GatePolicy]) -> float:
    """A gate's value that each of these policies demotes and none hides.

    It is the middle between the highest `demote_at` and the lowest `hide_at`.  If no value does
    both, it hides nowhere, and does not demote everywhere.  Policies that are off or in shadow do
    not count.

    Returns
    -------
    A float32 in [0, 1].
    """
    required = [gate for gate in gates if gate.required]
    demote_at = max((g.demote_at for g in required if g.demote_at is not None), default=0.0)
    hide_at = min((g.hide_at for g in required if g.hide_at is not None), default=None)
    middle = np.float32((demote_at + (1.0 if hide_at is None else hide_at)) / 2)
    if hide_at is None or demote_at <= float(middle) < hide_at:
        return float(middle)
    below = np.float32(hide_at)
    if float(below) >= hide_at > 0:
        below = np.nextafter(below, np.float32(0))
    return float(below)


def _table(entries: Iterable[tuple[Any, int]]) -> dict[Any, tuple[int, ...]]:
    """The rules of each entry."""
    rules_of: defaultdict[Any, list[int]] = defaultdict(list)
    for entry, rule in entries:
        rules_of[entry].append(rule)
    return {entry: tuple(rules) for entry, rules in rules_of.items()}


class _Phrases:
    """Finds phrases as whole words in a row, by their first word.

    Words are letters and digits, without case; blanks, punctuation and emoji between two words do
    not count.  In a phrase that has symbols (`$`, an emoji) each symbol is a word too.
    """

    def __init__(self, phrases: Iterable[tuple[str, int]]) -> None:
        plain, with_symbols = [], []
        for phrase, rule in phrases:
            words = tuple(_words(_WORD, _visible(phrase)))
            all_words = tuple(_words(_WORD_OR_SYMBOL, _visible(phrase)))
            if words == all_words:
                plain.append((words, rule))
            else:
                with_symbols.append((all_words, rule))
        self._kinds = [
            (splitter, frozenset(by_first), by_first)
            for splitter, by_first in (
                (_WORD, _by_first(_table(plain))),
                (_WORD_OR_SYMBOL, _by_first(_table(with_symbols))),
            )
            if by_first
        ]

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def matching(self, text: str) -> Iterator[int]:
        """The rules that have a phrase of the text."""
        for splitter, firsts, by_first in self._kinds:
            words = _words(splitter, text)
            if firsts.isdisjoint(words):
                continue
            for at, word in enumerate(words):
                for phrase, rules in by_first.get(word, ()):
                    if tuple(words[at : at + len(phrase)]) == phrase:
                        yield from rules


def _visible(text: str) -> str:
    """The text in Unicode's compatibility form, without invisible characters."""
    return text if text.isascii() else normalize("NFKC", _HIDDEN.sub("", text))


def _may_be_disguised(text: str) -> bool:
    if not text.isascii() or _APART.search(text):
        return True
    return bool(_SIGN.search(text) and _SIGN_BESIDE_LETTER.search(text))


def _words(splitter: re.Pattern[str], text: str) -> list[str]:
    if splitter is _WORD and text.isascii():
        splitter = _ASCII_WORD  # finds the same words three times as fast
    words: list[str] = splitter.findall(text.casefold())
    return words


_Phrase = tuple[tuple[str, ...], tuple[int, ...]]


def _by_first(table: Mapping[tuple[str, ...], tuple[int, ...]]) -> dict[str, list[_Phrase]]:
    """The phrases and their rules by first word; a phrase without a word never matches."""
    phrases: defaultdict[str, list[_Phrase]] = defaultdict(list)
    for words, rules in table.items():
        if words:
            phrases[words[0]].append((words, rules))
    return dict(phrases)


class _Patterns:
    """Searches for all patterns at once, and for each alone only in texts that have one."""

    def __init__(self, patterns: Iterable[tuple[str, int]]) -> None:
        by_pattern = _table(patterns)
        self._each = [(compile_pattern(pattern), rules) for pattern, rules in by_pattern.items()]
        self._any = None
        if by_pattern:
            together = "|".join(f"(?:{pattern})" for pattern in by_pattern)
            self._any = compile_pattern(together, _ALL_PATTERNS_MEMORY)
        # RE2's cache would keep patterns of settings that are gone.
        re2.purge()

    def __bool__(self) -> bool:
        return bool(self._each)

    def matching(self, text: str) -> Iterator[int]:
        """The rules that have a pattern which matches somewhere in the text."""
        if self._any is None:
            return
        encoded = text.encode("utf-8", "replace")
        if self._any.search(encoded) is None:
            return
        for pattern, rules in self._each:
            if pattern.search(encoded) is not None:
                yield from rules
