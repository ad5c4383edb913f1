"""The spam lexicon: how many of its terms of each kind stand in a text.

`lists/spam_lexicon.txt` holds what is known of spam beyond the data sets that a model learns from:
a model that saw only comments still knows the words of fraud by text message.  In the names of
columns, which artifacts hold, a term is a "cue".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.features.post_batch import FeatureGroup
from feedmill.features.text.byte_rows import TextChunk
from feedmill.features.text.ngrams import TextBatch

_SPAM_LEXICON = Path(__file__).parent / "lists" / "spam_lexicon.txt"
_COMMENT, _KIND = "#", "["
ANY_WORD = "_"
_TO_PREFIX = np.uint64(48)
LEXICON_KINDS = ("action", "promotion", "money", "urgency", "selected", "contact", "bait", "adult")
LEXICON_COLUMNS: tuple[str, ...] = (*(f"cues_{kind}" for kind in LEXICON_KINDS), "cues")


@dataclass(frozen=True, slots=True)
class HashedTerms:
    """A set of terms by 64-bit hash, each with a small number: its kind, or flags.

    Attributes
    ----------
    spans
        1 where terms are single words, 3 where some are two words, or two with any between them.
    has_prefix
        (65536,) bool: which values of the first 16 bits occur among the hashes; rules most out.
    """

    kind_of: Mapping[int, int]
    kinds: int
    spans: int
    has_prefix: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, kind_of: Mapping[int, int], kinds: int, spans: int = 1) -> HashedTerms:
        """Build from a mapping of hashes to kinds."""
        has_prefix = np.zeros(1 << 16, dtype=np.bool_)
        has_prefix[np.array([*kind_of], dtype=np.uint64) >> _TO_PREFIX] = True
        return cls(kind_of, kinds, spans, has_prefix)

    def counts(self, batch: TextBatch) -> npt.NDArray[np.int64]:
        """Count the terms of each kind in each text: (rows, kinds)."""
        parts = [self._counts(chunk) for chunk in batch.chunks]
        return np.concatenate(parts) if parts else np.zeros((0, self.kinds), dtype=np.int64)

    def _counts(self, chunk: TextChunk) -> npt.NDArray[np.int64]:
        words, kinds, cells = chunk.words, self.kinds, list[int]()
        hashes = words.hashes[: self.spans].ravel()
        maybe = self.has_prefix.take((hashes >> _TO_PREFIX).view(np.int64)).nonzero()[0]
        keys, places = hashes.take(maybe).tolist(), maybe.tolist()
        if self.kind_of.keys().isdisjoint(keys):
            return np.zeros((len(chunk), kinds), dtype=np.int64)
        starts, ends = words.starts.tolist(), words.ends.tolist()
        for place, key in zip(places, keys, strict=True):
            if key in self.kind_of:
                span, word = divmod(place, words.hashes.shape[1])
                row = bisect_right(starts, word) - 1
                cells += [row * kinds + self.kind_of[key]] * (word + span < ends[row])
        counts = np.bincount(np.array(cells, dtype=np.int64), minlength=len(chunk) * kinds)
        return counts.reshape(-1, kinds)


def lexicon_of(terms: Sequence[Sequence[str]]) -> HashedTerms:
    """Return the terms of each kind, in lower case; the first kind of a term counts.

    A term is a word, two neighbouring words, or two with any word between them.

    Raises
    ------
    ValueError
        A term of no word, or of more than two without `ANY_WORD` between them.
    """
    kind_of: dict[int, int] = {}
    for kind, members in enumerate(terms):
        for term in members:
            kind_of.setdefault(_key(term), kind)
    return HashedTerms.of(kind_of, len(terms), spans=3)


def _key(term: str) -> int:
    words = TextBatch([term]).chunks[0].words
    count = int(words.ends[0] - words.starts[0])
    if not 1 <= count <= 3 or (count == 3 and term.split()[1] != ANY_WORD):
        raise ValueError(
            f"term {term!r}: expected one word, two, or two with ` {ANY_WORD} ` between"
        )
    return int(words.hashes[count - 1, words.starts[0]])


@cache
def spam_lexicon() -> HashedTerms:
    """Return the spam lexicon that ships, by the kinds `LEXICON_KINDS`."""
    return lexicon_of(_terms_by_kind())


@cache
def spam_terms() -> frozenset[str]:
    """Return the terms of the spam lexicon that ships, as text."""
    return frozenset(chain(*_terms_by_kind()))


def _terms_by_kind() -> list[list[str]]:
    return parse_terms(_SPAM_LEXICON.read_text(encoding="utf-8"), LEXICON_KINDS)


def parse_terms(text: str, kinds: Sequence[str]) -> list[list[str]]:
    """Return the terms of each kind, in the order of `kinds`.

    A line ``[kind]`` starts a kind, commas separate terms, a line that starts with ``#`` is a
    comment.  A kind that is not among `kinds` raises `KeyError`.
    """
    terms: dict[str, list[str]] = {kind: [] for kind in kinds}
    kind = ""
    for line in text.splitlines():
        if line.startswith(_KIND):
            kind = line[1:].partition("]")[0]
        elif line and not line.startswith(_COMMENT):
            terms[kind] += [term.strip() for term in line.split(",") if term.strip()]
    return list(terms.values())


def lexicon_matrix(batch: TextBatch) -> npt.NDArray[np.float32]:
    """Return `LEXICON_COLUMNS` of each text: (rows, columns) float32, finite.

    The logarithm of 1 plus how many terms of each kind, and of all kinds, are in a window.
    """
    counts = spam_lexicon().counts(batch)
    if not np.count_nonzero(counts):
        return np.zeros((len(batch), len(LEXICON_COLUMNS)), dtype=np.float32)
    with_total = np.concatenate([counts, np.add.reduce(counts, axis=1, keepdims=True)], axis=1)
    return np.log1p(with_total * batch.window_shares[:, None]).astype(np.float32)


LEXICON = FeatureGroup("cues", LEXICON_COLUMNS, lambda batch: lexicon_matrix(batch.text))
