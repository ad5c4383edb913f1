"""Word lists on hashed words: how many cues of each kind a text holds.

The list of spam cues (`lists/spam_lexicon.txt`) carries what is known of spam beyond the sets it is
learned from: a model that saw comments alone still knows the words of fraud by text message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.features.feature_group import FeatureGroup
from feedmill.features.text.ngrams import TextBatch, TextChunk, gapped_pairs

_CUES = Path(__file__).parent / "lists" / "spam_lexicon.txt"
_COMMENT, _KIND = "#", "["
ANY = "_"  # stands for any one word
# Shares are taken as if every text had so many words more: one cue in two words is no proof.
_MORE_WORDS = 3
LEXICON_KINDS = ("action", "promotion", "money", "urgency", "selected", "contact", "bait", "adult")
LEXICON_COLUMNS: tuple[str, ...] = (
    *(f"log_cues_{kind}" for kind in LEXICON_KINDS),
    *(f"share_cues_{kind}" for kind in LEXICON_KINDS),
    "log_cues",
    "share_cues",
    "kinds_of_cues",
)


@dataclass(frozen=True, slots=True)
class HashedTerms:
    """Terms of one or two words by the hash of word or pair: sorted keys, each with its kind."""

    keys: npt.NDArray[np.uint64]
    kinds: npt.NDArray[np.int64]
    first_bits: npt.NDArray[np.bool_]  # which values of a key's first 16 bits occur

    @classmethod
    def of(cls, kind_of: Mapping[int, int]) -> HashedTerms:
        """Build from keys and kinds."""
        keys = np.array(sorted(kind_of), dtype=np.uint64)
        kinds = np.array([kind_of[key] for key in keys.tolist()], dtype=np.int64)
        first_bits = np.zeros(1 << 16, dtype=np.bool_)
        first_bits[keys >> np.uint64(48)] = True
        return cls(keys, kinds, first_bits)

    def found(
        self, hashes: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the positions of the hashes that are terms, and the kind of each."""
        maybe = np.flatnonzero(self.first_bits[hashes >> np.uint64(48)])
        at = np.searchsorted(self.keys, hashes[maybe])
        at[at == len(self.keys)] = 0
        sure = self.keys[at] == hashes[maybe]
        return maybe[sure], self.kinds[at[sure]]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Terms of one word, of two neighbours, and of two with any one word between them."""

    singles: HashedTerms
    pairs: HashedTerms
    gapped: HashedTerms
    kinds: int

    @classmethod
    def of(cls, terms: Sequence[Sequence[str]]) -> Lexicon:
        """Build from the terms of each kind; a term of another number of words is refused."""
        by_length: tuple[dict[int, int], ...] = ({}, {}, {})
        for kind, members in enumerate(terms):
            for term in members:
                count, key = _key(term)
                by_length[count - 1].setdefault(key, kind)
        singles, pairs, gapped = map(HashedTerms.of, by_length)
        return cls(singles, pairs, gapped, len(terms))

    def counts(self, batch: TextBatch) -> npt.NDArray[np.int64]:
        """Count the terms of each kind in each text: (rows, kinds)."""
        parts = [self._counts(chunk) for chunk in batch.chunks]
        return np.concatenate(parts) if parts else np.zeros((0, self.kinds), dtype=np.int64)

    def _counts(self, chunk: TextChunk) -> npt.NDArray[np.int64]:
        words = chunk.words
        flat = np.zeros(len(chunk) * self.kinds, dtype=np.int64)
        for terms, hashes, last in (
            (self.singles, words.words, words.ends),
            (self.pairs, words.pairs, words.ends - 1),
            (self.gapped, gapped_pairs(words), words.ends - 2),
        ):
            places, kinds = terms.found(hashes)
            row = np.searchsorted(words.starts, places, side="right") - 1
            inside = places < last[row]
            flat += np.bincount(
                row[inside] * self.kinds + kinds[inside], minlength=len(flat)
            ).astype(np.int64)
        return flat.reshape(-1, self.kinds)


def _key(term: str) -> tuple[int, int]:
    words = TextBatch([term]).chunks[0].words
    count = int(words.ends[0] - words.starts[0])
    hashes = {1: words.words, 2: words.pairs, 3: gapped_pairs(words)}.get(count)
    if hashes is None or (count == 3 and term.split()[1] != ANY):
        raise ValueError(f"term {term!r}: expected one word, two, or two with ` {ANY} ` between")
    return count, int(hashes[words.starts[0]])


@cache
def spam_lexicon() -> Lexicon:
    """Return the list of spam cues that ships."""
    return Lexicon.of(_cues_by_kind())


@cache
def spam_terms() -> frozenset[str]:
    """Return the words and pairs of words of that list."""
    return frozenset(chain(*_cues_by_kind()))


def _cues_by_kind() -> list[list[str]]:
    return read_terms(_CUES.read_text(encoding="utf-8"), LEXICON_KINDS)


def read_terms(text: str, kinds: Sequence[str]) -> list[list[str]]:
    """Read a list: ``[kind]`` opens a kind, terms are parted by commas, ``#`` opens a comment."""
    terms: dict[str, list[str]] = {kind: [] for kind in kinds}
    kind = ""
    for line in text.splitlines():
        if line.startswith(_KIND):
            kind = line[1:].partition("]")[0]
        elif line and not line.startswith(_COMMENT):
            terms[kind] += [term.strip() for term in line.split(",") if term.strip()]
    return list(terms.values())


def lexicon_matrix(batch: TextBatch) -> npt.NDArray[np.float32]:
    """Return what the spam cues say of each text: (rows, len(CUE_NAMES)), float32, finite."""
    counts = spam_lexicon().counts(batch).astype(np.float64)
    words = np.concatenate(
        [chunk.words.ends - chunk.words.starts for chunk in batch.chunks]
        or [np.zeros(0, dtype=np.int64)]
    )
    size = (words + _MORE_WORDS)[:, None]
    total = counts.sum(axis=1, keepdims=True)
    columns = [np.log1p(counts), counts / size, np.log1p(total), total / size]
    kinds = (counts > 0).sum(axis=1, keepdims=True)
    return np.concatenate([*columns, kinds], axis=1).astype(np.float32)


LEXICON = FeatureGroup("cues", LEXICON_COLUMNS, lambda batch: lexicon_matrix(batch.text))
