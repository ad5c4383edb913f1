"""Operators' rules of one filter, compiled once and matched against every post.

No I/O and no clock.  `events/rules.py` has checked the rules before.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import re2

from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.events.rules import Rule, RuleAction, compile_pattern
from feedmill.features.hosts import canonical_host, domains_of_post
from feedmill.filters.phrases import (
    encode,
    has_symbols,
    line_with_symbols,
    phrase_words,
    readings,
    words,
)

VERDICT_RANK: Mapping[RuleAction, int] = {"allow": 0, "hide": 1, "demote": 2}
_ALL_PATTERNS_MEMORY = 32 * 1024 * 1024


def authors_of(post: Post) -> tuple[str, ...]:
    """Return the authors of a post: one."""
    return (post.author_id,)


def hashes_of(post: Post) -> Sequence[str]:
    """Return the hashes of a post's media, in small letters."""
    return [media.sha256.lower() for media in post.media if media.sha256] if post.media else ()


def _labels_of(post: Post) -> Sequence[str]:
    return [label.casefold() for label in post.self_labels] if post.self_labels else ()


# Of each kind of entry the form in which it is compared, and what a post has of it in that form.
_KINDS: Mapping[str, tuple[Callable[[str], str | None], Callable[[Post], Collection[str]]]] = {
    "authors": (str, authors_of),
    "self_labels": (str.casefold, _labels_of),
    "media_sha256": (str.lower, hashes_of),
    "domains": (canonical_host, domains_of_post),
}


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

        def entries(kind: str) -> Iterator[tuple[str, int]]:
            return ((e, i) for i, (_, rule) in enumerate(ranked) for e in getattr(rule, kind))

        tables = (
            (entries_of, _table((form(entry), i) for entry, i in entries(kind)))
            for kind, (form, entries_of) in _KINDS.items()
        )
        self._tables = [(entries_of, table) for entries_of, table in tables if table]
        self._phrases = _Phrases(entries("phrases"))
        self._patterns = _Patterns(entries("patterns"))

    def __len__(self) -> int:
        return len(self._matches)

    def verdicts(self, posts: Sequence[Post], at_ms: Sequence[int]) -> list[RuleMatch | None]:
        """Return the rule that decides for each post, None where no rule matches.

        A rule holds for posts whose records came before its `expires_at_ms`; `at_ms` are the
        timestamps of the records.  So a post gets the same verdict whenever it is read.
        """
        if not self._matches:
            return [None] * len(posts)
        return [self._verdict(post, now) for post, now in zip(posts, at_ms, strict=True)]

    def _verdict(self, post: Post, at_ms: int) -> RuleMatch | None:
        best = min((i for i in self._matching(post) if at_ms < self._ends_ms[i]), default=None)
        return None if best is None else self._matches[best]

    def _matching(self, post: Post) -> Iterator[int]:
        """The ranks of the rules that match, some of them more than once."""
        for entries_of, table in self._tables:
            entries = entries_of(post)
            if not table.keys().isdisjoint(entries):
                for entry in entries:
                    yield from table.get(entry, ())
        if self._phrases or self._patterns:
            yield from self._matching_text(post.text)

    def _matching_text(self, text: str) -> Iterator[int]:
        yield from self._patterns.matching(text)
        for reading in readings(text):
            yield from self._phrases.matching(reading)
            if reading != text:
                yield from self._patterns.matching(reading)


def demoting_value(gates: Iterable[GatePolicy]) -> float:
    """Return a value of a gate, a float32, that each of these policies demotes and none hides.

    It is the middle between the highest `demote_at` and the lowest `hide_at`.  If no value does
    both, the value hides nowhere, and does not demote everywhere.  Policies that are off or in
    shadow do not count.
    """
    required = [gate for gate in gates if gate.required]
    demote_at = max((g.demote_at for g in required if g.demote_at is not None), default=0.0)
    hide_at = min((g.hide_at for g in required if g.hide_at is not None), default=None)
    middle = np.float32((demote_at + (1.0 if hide_at is None else hide_at)) / 2)
    if hide_at is None or demote_at <= float(middle) < hide_at:
        return float(middle)
    return float32_below(hide_at)


def float32_below(threshold: float) -> float:
    """Return the highest value of a signal, a float32, below a threshold of a gate; 0 below 0."""
    below = np.float32(threshold)
    if float(below) >= threshold:
        below = np.nextafter(below, np.float32(0))
    return float(below)


def _table(entries: Iterable[tuple[Any, int]]) -> dict[Any, tuple[int, ...]]:
    rules_of: defaultdict[Any, list[int]] = defaultdict(list)
    for entry, rule in entries:
        rules_of[entry].append(rule)
    return {entry: tuple(rules) for entry, rules in rules_of.items()}


@dataclass(frozen=True)
class _PhraseTable:
    """The rules of phrases by their words; by the first of these the lengths that phrases have.

    A word costs a look-up for each length, however many phrases begin with it.
    """

    rules_of: Mapping[tuple[str, ...], tuple[int, ...]]
    lengths_by_first: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, phrases: Iterable[tuple[tuple[str, ...], int]]) -> _PhraseTable:
        """Build from phrases and their rules; a phrase without a word never matches."""
        rules_of = {phrase: rules for phrase, rules in _table(phrases).items() if phrase}
        by_first = _table((phrase[0], len(phrase)) for phrase in rules_of)
        return cls(rules_of, {word: tuple({*found}) for word, found in by_first.items()})

    def matching(self, found: Sequence[str]) -> Iterator[int]:
        """The rules that have a phrase among the words of a text."""
        if self.lengths_by_first.keys().isdisjoint(found):
            return
        for at, word in enumerate(found):
            for length in self.lengths_by_first.get(word, ()):
                yield from self.rules_of.get(tuple(found[at : at + length]), ())


class _Phrases:
    """Finds phrases as whole words in a row, by their first word."""

    def __init__(self, phrases: Iterable[tuple[str, int]]) -> None:
        plain: list[tuple[tuple[str, ...], int]] = []
        with_symbols: list[tuple[tuple[str, ...], int]] = []
        for phrase, rule in phrases:
            found, symbols = phrase_words(phrase)
            (with_symbols if symbols else plain).append((tuple(found), rule))
        self._plain = _PhraseTable.of(plain)
        self._with_symbols = _PhraseTable.of(with_symbols)

    def __bool__(self) -> bool:
        return bool(self._plain.rules_of or self._with_symbols.rules_of)

    def matching(self, text: str) -> Iterator[int]:
        """The rules that have a phrase of a visible text."""
        if self._plain.rules_of:
            yield from self._plain.matching(words(text))
        if self._with_symbols.rules_of and has_symbols(text):
            yield from self._with_symbols.matching(line_with_symbols(text).split())


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
        encoded = encode(text)
        if self._any.search(encoded) is None:
            return
        for pattern, rules in self._each:
            if pattern.search(encoded) is not None:
                yield from rules
