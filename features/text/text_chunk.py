"""Some texts with their hashed n-grams, as models read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import ByteRows, Indices

Tokens = npt.NDArray[np.uint32]


class TokenBlock(NamedTuple):
    """Tokens of one kind: row i has ``tokens[starts[i]:ends[i]]``, each below `BUCKETS`.

    `words` says that the tokens are words or pairs of words, not n-grams of bytes.
    """

    tokens: Tokens
    starts: Indices
    ends: Indices
    words: bool = False


class FiveGrams(NamedTuple):
    """Of some texts their bytes, folded, and the token of the 5-gram that starts at each byte.

    `tokens` are (bytes - 4,); the last ones of a row reach into the padding.
    """

    rows: ByteRows
    tokens: Tokens


class WordRows(NamedTuple):
    """64-bit hashes of words: row i has ``hashes[:, starts[i]:ends[i]]``.

    `hashes` (3, words) are those of each word, of it and the next, and of it and the next but one;
    these two may belong to another row.
    """

    hashes: npt.NDArray[np.uint64]
    starts: Indices
    ends: Indices


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Some consecutive texts of a batch, as models read them.

    Attributes
    ----------
    raw
        The bytes of the texts after `normalise`, case kept.
    raw_words
        What `word_bounds` returns for them.
    folded
        The same bytes in lower case, from which tokens are made.
    words
        The hashes of the words.
    byte_tokens
        (3, bytes): those of the n-grams of 3, of 4 and of 5 bytes that start at each byte.
    word_tokens
        (2, words): those of the words, and of pairs of words.
    """

    raw: ByteRows
    raw_words: tuple[Indices, Indices, Indices, Indices]
    folded: ByteRows
    words: WordRows
    byte_tokens: Tokens
    word_tokens: Tokens

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def token_counts(self) -> Indices:
        """How many tokens each row has: (rows,), at least 2."""
        words = self.words.ends - self.words.starts
        counts: Indices = (self.folded.ends - self.folded.starts) * 3
        counts += words
        counts += np.maximum(words - 1, 0)
        return counts

    @property
    def five_grams(self) -> FiveGrams:
        """The 5-grams alone."""
        return FiveGrams(self.folded, self.byte_tokens[2])

    @property
    def blocks(self) -> tuple[TokenBlock, ...]:
        """The tokens: n-grams of 3, of 4 and of 5 bytes, words, pairs of words within a row."""
        starts, ends = self.words.starts, self.words.ends
        return (
            *(TokenBlock(t, self.folded.starts, self.folded.ends) for t in self.byte_tokens),
            TokenBlock(self.word_tokens[0], starts, ends, words=True),
            TokenBlock(self.word_tokens[1], starts, np.maximum(ends - 1, starts), words=True),
        )
