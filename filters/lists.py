"""Lists of domains, phrases, media and authors of any size, matched against batches of posts.

A list holds a digest of 12 bytes for each entry, sorted; a list of phrases a key of 8 bytes, too.
What a rule finds with the same entries a list finds, too; `tests/filters/test_lists.py` compares
them.  No I/O and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.events.rules import Rule, RuleAction
from feedmill.events.settings import Settings
from feedmill.features.hosts import domains_of_post
from feedmill.filters.phrases import PhraseKeys, RunFinder, encode
from feedmill.filters.rules import (
    VERDICT_RANK,
    RuleMatch,
    RuleSet,
    authors_of,
    demoting_value,
    hashes_of,
)

ListKind = Literal["domains", "phrases", "media", "authors"]
KINDS: tuple[ListKind, ...] = get_args(ListKind)
# Of 64 bits somebody finds a name that a list of a million seems to hold within 2^44 tries, and an
# `allow` list is worth that; of 96 bits it takes 2^76.
DIGEST_BYTES = 12
DIGESTS = np.dtype(f"S{DIGEST_BYTES}")

Digests = npt.NDArray[np.bytes_]


def digest_of(entry: str) -> bytes:
    """Return the digest of an entry in the form in which posts have it: 12 bytes."""
    return digest_of_bytes(encode(entry))


def digest_of_bytes(entry: bytes) -> bytes:
    """Return the digest of an entry in UTF-8, as `digest_of`."""
    return blake2b(entry, digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True, eq=False)
class PostList:
    """A version of a list.

    Attributes
    ----------
    version
        The first 12 hexadecimal digits of the artifact's sha256.
    digests
        Of the entries, ascending, each once: (n,) of 12 bytes, n > 0.
    phrases
        Of a list of phrases, what tells which words of a post may be one of them.
    """

    filter: str
    name: str
    kind: ListKind
    verdict: RuleAction
    version: str
    digests: Digests
    phrases: PhraseKeys | None = None

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def label(self) -> str:
        """How signals name it in the place of a rule; no rule can be called so."""
        return f"list/{self.name}@{self.version}"

    def holds(self, wanted: Digests) -> npt.NDArray[np.bool_]:
        """Return whether the list has these digests: (m,) for (m,)."""
        at = np.searchsorted(self.digests, wanted)
        return np.asarray(self.digests.take(at, mode="clip") == wanted)


class ListSet:
    """The lists of one filter; it never changes.

    Of several that match, `allow` goes before `hide`, `hide` before `demote`, then the first by
    name, as among rules.  There are `count` of them.
    """

    def __init__(self, lists: Sequence[PostList]) -> None:
        ranked = sorted(lists, key=lambda listed: (VERDICT_RANK[listed.verdict], listed.name))
        self.count = len(ranked)
        self._matches = [RuleMatch(listed.verdict, listed.label) for listed in ranked]
        self._by_kind = {
            kind: [(rank, listed) for rank, listed in enumerate(ranked) if listed.kind == kind]
            for kind in _ENTRIES
        }
        self._phrase_lists = [
            (rank, listed, listed.phrases)
            for rank, listed in enumerate(ranked)
            if listed.phrases is not None
        ]
        self._run_finder = RunFinder([keys for _, _, keys in self._phrase_lists])

    def verdicts(self, posts: Sequence[Post]) -> list[RuleMatch | None]:
        """Return the list that decides for each post, None where none has anything of it."""
        best = np.full(len(posts), self.count)
        for kind, lists in self._by_kind.items():
            if lists:
                self._match(kind, lists, posts, best)
        if self._phrase_lists:
            self._match_phrases(posts, best)
        return [self._matches[rank] if rank < self.count else None for rank in best]

    @staticmethod
    def _match(
        kind: ListKind,
        lists: Sequence[tuple[int, PostList]],
        posts: Sequence[Post],
        best: npt.NDArray[np.int64],
    ) -> None:
        """Lower `best`, (n,), to the first of these lists that holds something of a post."""
        entries_of = _ENTRIES[kind]
        entries = [entries_of(post) for post in posts]
        digests = [*map(digest_of, chain.from_iterable(entries))]
        if not digests:
            return
        rows = np.arange(len(posts)).repeat([*map(len, entries)])
        wanted = np.frombuffer(b"".join(digests), dtype=DIGESTS)
        for rank, listed in lists:
            np.minimum.at(best, rows[listed.holds(wanted)], rank)

    def _match_phrases(self, posts: Sequence[Post], best: npt.NDArray[np.int64]) -> None:
        """Lower `best`, (n,), to the first list that holds a phrase of a post."""
        for runs in self._run_finder.runs([post.text for post in posts]):
            for rank, listed, keys in self._phrase_lists:
                places = keys.find(runs.keys)
                if len(places):
                    pairs = list(runs.phrases(places))
                    rows = np.array([row for row, _ in pairs])
                    wanted = [digest_of_bytes(phrase) for _, phrase in pairs]
                    held = listed.holds(np.array(wanted, dtype=DIGESTS))
                    np.minimum.at(best, rows[held], rank)


_ENTRIES: Mapping[ListKind, Callable[[Post], Collection[str]]] = {
    "domains": domains_of_post,
    "media": hashes_of,
    "authors": authors_of,
}


class FilterRules:
    """What operators say of a filter's posts: its rules under the settings in force, and its lists.

    A rule beats every list.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._read: Mapping[str, Rule] = {}
        self._rules, self._lists = RuleSet({}), ListSet([])
        self._demoting = demoting_value([])

    def set_settings(self, settings: Settings) -> bool:
        """Take over new settings, between batches; return whether the rules are others now."""
        feeds = ("", *settings.gates)
        gates = [settings.gates_of(feed).get(self._name) for feed in feeds]
        self._demoting = demoting_value([gate for gate in gates if gate is not None])
        rules = settings.rules.get(self._name, {})
        if rules is self._read or rules == self._read:
            return False
        self._read, self._rules = rules, RuleSet(rules)
        return True

    def set_lists(self, lists: ListSet) -> None:
        """Take over the lists that are in force now, between batches."""
        self._lists = lists

    def verdicts(self, posts: Sequence[Post], at_ms: Sequence[int]) -> list[RuleMatch | None]:
        """Return the rule, else the list, that decides for each post; as `RuleSet.verdicts`."""
        decided = self._rules.verdicts(posts, at_ms)
        if self._lists.count:
            # A list looks at many posts at once, and only at those that no rule has decided.
            open_rows = [row for row, match in enumerate(decided) if match is None]
            matches = self._lists.verdicts([posts[row] for row in open_rows])
            for row, match in zip(open_rows, matches, strict=True):
                decided[row] = match
        return decided

    def value_of(self, match: RuleMatch) -> float:
        """Return the gate's value, a float32, that has the verdict's effect under its policies."""
        return {"hide": 1.0, "demote": self._demoting, "allow": 0.0}[match.verdict]
