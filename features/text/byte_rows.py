"""The bytes of several texts in one buffer, so that numpy works on all of them at once.

Hashes of many runs of bytes come from prefix sums: a polynomial over the bytes modulo 2**64 (Karp
and Rabin 1987), shifted back to the start of its run.  Equal bytes have equal hashes, wherever they
stand.  It is no secret and resists nobody who looks for collisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_letters, digits
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.limits import MAX_TEXT_CHARACTERS

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.uint32]

# Zero bytes after each row; the longest n-gram reaches four bytes beyond its first.
PADDING_BYTES = 5
_PADDING = b" " + b"\0" * PADDING_BYTES
_FIRST_ROW: Indices = np.zeros(1, dtype=np.int64)
_FIRST_ROW.flags.writeable = False


_EVERY_BYTE = bytes(range(256))
_CONTROLS = b"\x7f" + _EVERY_BYTE[1 : ord(" ")]


def byte_set(members: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Return which values of a byte are members: (256,)."""
    return np.isin(np.arange(256), list(members))


# What a byte counts as in an n-gram: letters are small, digits ``0``, controls but 0 blanks.
_DIGITS_AND_CONTROLS = bytes.maketrans(
    digits.encode() + _CONTROLS, b"0" * len(digits) + b" " * len(_CONTROLS)
)
FOLDED: Bytes = np.frombuffer(_EVERY_BYTE.lower().translate(_DIGITS_AND_CONTROLS), np.uint8)
# All beyond ASCII is part of a word.
IS_WORD = byte_set((ascii_letters + digits + "'_").encode() + _EVERY_BYTE[128:])


@dataclass(frozen=True, slots=True)
class ByteRows:
    """The UTF-8 bytes of several texts in one buffer, padded so that no n-gram crosses a row.

    Row i is ``buffer[starts[i]:ends[i]]``: a blank, the text, a blank.  `PADDING_BYTES` zero bytes
    follow it.
    """

    buffer: Bytes
    starts: Indices
    ends: Indices

    @classmethod
    def of(cls, texts: Sequence[str]) -> ByteRows:
        """Lay out texts; a lone surrogate becomes a question mark."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        if len(encoded) == 1:
            joined = b" " + encoded[0] + _PADDING
            ends = np.array([len(joined) - PADDING_BYTES])
            return cls(np.frombuffer(joined, dtype=np.uint8), _FIRST_ROW, ends)
        joined = b" " + (_PADDING + b" ").join(encoded) + _PADDING if encoded else b""
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)) + 2
        ends = (lengths + PADDING_BYTES).cumsum() - PADDING_BYTES
        return cls(np.frombuffer(joined, dtype=np.uint8), ends - lengths, ends)

    def __len__(self) -> int:
        return len(self.starts)


def four_bytes(buffer: Bytes) -> npt.NDArray[np.uint32]:
    """Return the four bytes from each place on, the first one lowest: (bytes - 3,)."""
    return np.ndarray(max(len(buffer) - 3, 0), "<u4", buffer, strides=(1,)).copy()


def word_bounds(rows: ByteRows) -> tuple[Indices, Indices, Indices, Indices]:
    """Return where words are.

    Returns
    -------
    (words,) first byte and end of each word in the buffer, then (rows,) first word of each row and
    the one after its last.
    """
    is_inside = IS_WORD.take(rows.buffer)
    edges = (is_inside[1:] != is_inside[:-1]).nonzero()[0] + 1
    if len(rows) == 1:
        return edges[0::2], edges[1::2], _FIRST_ROW, np.array([len(edges) >> 1])
    first, last = edges.searchsorted(rows.starts) >> 1, edges.searchsorted(rows.ends) >> 1
    return edges[0::2], edges[1::2], first, last


Hashes = npt.NDArray[np.uint64]

# A buffer of about so many bytes keeps what is computed from it in the processor's cache.
CHUNK_BYTES = 1 << 16
_USUAL_BYTES = CHUNK_BYTES + 4 * MAX_TEXT_CHARACTERS + 64
# 2**64 by the golden ratio, the usual odd multiplier.
GOLDEN = 0x9E3779B97F4A7C15
_INVERSE = pow(GOLDEN, -1, 1 << 64)


def odd_multipliers(count: int, seed: int) -> Hashes:
    """Return `count` fixed odd 64-bit numbers: splitmix64 (Steele et al. 2014) from `seed`."""
    mask, state, values = (1 << 64) - 1, seed, []
    for _ in range(count):
        state = (state + GOLDEN) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        values.append((mixed ^ (mixed >> 31)) | 1)
    return np.array(values, dtype=np.uint64)


_BYTE_MULTIPLIERS = odd_multipliers(256, seed=1)


@cache
def _usual_powers() -> tuple[Hashes, Hashes]:
    return _powers(_USUAL_BYTES)


def _powers(count: int) -> tuple[Hashes, Hashes]:
    """Return the first powers of `GOLDEN`, the base, and of its inverse: (count,) each."""
    columns = np.empty((2, count), dtype=np.uint64)
    columns[0], columns[1] = GOLDEN, _INVERSE
    columns[:, 0] = 1
    np.cumprod(columns, axis=1, out=columns)
    return columns[0], columns[1]


class ByteHashes:
    """The hashes of runs of a buffer's bytes.

    Attributes
    ----------
    sums
        Up to each byte, the sum of what the bytes before it add: (bytes + 1,) uint64.
    """

    def __init__(self, buffer: Bytes) -> None:
        # Those for the usual buffers are kept; workers have no longer ones.
        is_usual = len(buffer) <= _USUAL_BYTES
        powers, self._inverse_powers = _usual_powers() if is_usual else _powers(len(buffer) + 1)
        self.sums: Hashes = np.zeros(len(buffer) + 1, dtype=np.uint64)
        added = _BYTE_MULTIPLIERS.take(buffer)
        added *= powers[: len(buffer)]
        added.cumsum(out=self.sums[1:])

    def hashes(self, starts: Indices, ends: Indices) -> Hashes:
        """Return the hash of each run from a start to before an end: (runs,) for (runs,)."""
        return self.shifted(self.sums.take(ends), starts)

    def shifted(self, sums_at_ends: Hashes, starts: Indices) -> Hashes:
        """Return the hashes of runs, given `sums` at their ends: (…, runs) for (…, runs)."""
        hashes: Hashes = sums_at_ends - self.sums.take(starts)
        hashes *= self._inverse_powers.take(starts)
        return hashes


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
    def blocks(self) -> tuple[TokenBlock, ...]:
        """The tokens: n-grams of 3, of 4 and of 5 bytes, words, pairs of words within a row."""
        starts, ends = self.words.starts, self.words.ends
        return (
            *(TokenBlock(t, self.folded.starts, self.folded.ends) for t in self.byte_tokens),
            TokenBlock(self.word_tokens[0], starts, ends, words=True),
            TokenBlock(self.word_tokens[1], starts, np.maximum(ends - 1, starts), words=True),
        )
