"""Hashed n-grams of texts: of a whole batch at once by numpy, without a Python object for each.

Pure functions of the texts: a row never depends on the other rows or on the batching.  Hashes are
integer arithmetic modulo 2**32 and 2**64 and weighted sums are sums of integers, so that results
are equal exactly, not up to rounding.  A token is the hash of an n-gram of 3, 4 or 5 bytes, of a
word, or of two neighbouring words; its bucket is its value, below `BUCKETS` (feature hashing;
Weinberger et al. 2009).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.features.text.byte_rows import (
    CHUNK_BYTES,
    FOLDED,
    PADDING_BYTES,
    ByteHashes,
    ByteRows,
    Bytes,
    FiveGrams,
    Indices,
    TextChunk,
    Tokens,
    WordRows,
    four_bytes,
    odd_multipliers,
    word_bounds,
)
from feedmill.features.text.interleaved_weights import InterleavedWeights, LaneSums, Weights
from feedmill.features.text.normalise import deobfuscate, normalise_characters, obfuscated_rows

HASH_BITS = 18
# The tokens of a window of some 200 characters: what a longer text has counts in proportion.
WINDOW_TOKENS = 700
BUCKETS = 1 << HASH_BITS
_NGRAM_MULTIPLIERS = odd_multipliers(4, seed=2).astype(np.uint32)
_MIX32 = np.uint32(0x2C1B3C6D)
_MIX64 = np.uint64(0xD6E8FEB86659FD93)
# Of a word by itself, with the next one, and with the next but one.
_WORD_MULTIPLIERS = np.array([[1], [0xA0761D6478BD642F], [0xE7037ED1A0B428DB]], dtype=np.uint64)
_NO_TOKEN = np.zeros(1, dtype=np.uint32)
_ANY = np.ones(1, dtype=np.bool_)
_row_sums = partial(np.add.reduce, axis=-1, dtype=np.int64, keepdims=True)


class JoinedBlocks(NamedTuple):
    """The tokens of all blocks of a chunk in one array: a model's sums take a few calls of numpy.

    Attributes
    ----------
    tokens
        Those of each block in turn; of several rows, then a 0: `reduceat` refuses a last bound.
    bounds
        (blocks * rows * 2,) where each row of each block begins and ends.  Of a single row where
        its words begin.
    has_tokens
        (blocks, rows): the row has a token of the block; (1,) of a single row.
    """

    tokens: npt.NDArray[np.int64]
    bounds: Indices
    has_tokens: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, chunk: TextChunk) -> JoinedBlocks:
        """Join the blocks of one chunk."""
        if len(chunk) == 1:
            of_bytes = chunk.byte_tokens[:, : chunk.folded.ends[0]].ravel()
            words, pairs = chunk.word_tokens
            tokens = np.concatenate((of_bytes, words, pairs[:-1]), dtype=np.int64)
            return cls(tokens, np.array([of_bytes.size]), _ANY)
        blocks = chunk.blocks
        tokens = np.concatenate((*(block.tokens for block in blocks), _NO_TOKEN), dtype=np.int64)
        bounds = np.concatenate((*(b.starts for b in blocks), *(b.ends for b in blocks)))
        starts, ends = bounds = bounds.reshape(2, len(blocks), -1)
        has_tokens = ends > starts
        sizes = (len(block.tokens) for block in blocks[:-1])
        bounds += np.array([*accumulate(sizes, initial=0)])[:, None]
        flat = bounds.transpose(1, 2, 0).ravel()
        return cls(tokens, flat, has_tokens)

    def weighted_sums(self, weights: Weights, word_factor: int) -> npt.NDArray[np.int64]:
        """Sum the weights of all tokens of each row, those of words so many times: (…, rows)."""
        added = weights.take(self.tokens, axis=-1)
        if self.has_tokens is _ANY:
            (begin,) = self.bounds.tolist() if word_factor > 1 else (0,)
            total: npt.NDArray[np.int64] = _row_sums(added[..., begin:])
            if begin:
                total = total * word_factor + _row_sums(added[..., :begin])
            return total
        # Every other sum is of what lies between two rows.
        sums = np.add.reduceat(added, self.bounds, axis=-1, dtype=np.int32)[..., ::2]
        # `reduceat` gives one token's weight where there is none.
        sums = sums.reshape(*sums.shape[:-1], *self.has_tokens.shape) * self.has_tokens
        totals: npt.NDArray[np.int64] = np.array((1, 1, 1, word_factor, word_factor)) @ sums
        return totals


class TextBatch:
    """Texts with their hashed n-grams, computed once for every model that reads them.

    Any text is accepted; what is beyond `MAX_TEXT_CHARACTERS` is not read.  Not safe for more
    than one thread at a time.  `interleaved` are the weights of the models that share it, if many
    do.
    """

    def __init__(self, texts: Sequence[str], interleaved: InterleavedWeights | None = None) -> None:
        self.texts = texts
        self._interleaved = interleaved
        self._lane_sums: LaneSums | None = None
        self.shape: npt.NDArray[np.float32] | None = None  # see `shape_matrix`

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def chunks(self) -> tuple[TextChunk, ...]:
        """The texts in order, in chunks of bounded size; no text is split.  Hashed on first use."""
        return tuple(map(_chunk, _parts(self.texts)))

    @property
    def five_grams(self) -> Iterator[FiveGrams]:
        """The 5-grams of the texts, chunk by chunk."""
        return (FiveGrams(chunk.folded, chunk.byte_tokens[2]) for chunk in self.chunks)

    def weighted_sums(self, weights: Weights, word_factor: int = 1) -> npt.NDArray[np.int64]:
        """Sum the weights of all tokens of each text.

        Parameters
        ----------
        weights
            (…, `BUCKETS`), each between -4095 and 4095, so that the sum of no text overflows.
        word_factor
            How many times the weight of a word or of a pair of words counts.

        Returns
        -------
        (…, rows) int64, exact.
        """
        if self._interleaved is not None:
            if self._lane_sums is None:
                self._lane_sums = self._interleaved.layout().sums(self.chunks)
            self._interleaved.ask(weights)
            found = self._lane_sums.of(weights, word_factor)
            if found is not None:
                return found
        parts = [blocks.weighted_sums(weights, word_factor) for blocks in self._joined_blocks]
        if len(parts) == 1:
            return parts[0]
        none = np.zeros((*weights.shape[:-1], 0), dtype=np.int64)
        return np.concatenate(parts or [none], axis=-1)

    @cached_property
    def _joined_blocks(self) -> tuple[JoinedBlocks, ...]:
        return tuple(map(JoinedBlocks.of, self.chunks))

    def token_counts(self) -> Indices:
        """Return the number of tokens of each text: (rows,) int64, at least 2."""
        counts = [chunk.token_counts for chunk in self.chunks]
        return np.concatenate(counts or [np.zeros(0, dtype=np.int64)])

    @cached_property
    def window_shares(self) -> npt.NDArray[np.float64]:
        """Return which part of each text a window is: (rows,) in (0, 1], 1 for a short text.

        A count times this share is a density: it does not grow with the length of the text.
        """
        return np.minimum(1.0, WINDOW_TOKENS / self.token_counts())

    @cached_property
    def norms(self) -> npt.NDArray[np.float64]:
        """Return what a sum of weights over each text is divided by: (rows,).

        The root of the number of tokens; beyond a window it rises with the number itself.
        """
        return np.sqrt(self.token_counts() / self.window_shares)


def five_grams(texts: Sequence[str]) -> Iterator[FiveGrams]:
    """Yield the 5-grams of texts of which nothing else is read: a fourth of a chunk's work."""
    for part in _parts(texts):
        _, rows = _rows(part)
        folded = ByteRows(FOLDED.take(rows.buffer), rows.starts, rows.ends)
        tokens = four_bytes(folded.buffer)[:-1] * _NGRAM_MULTIPLIERS[1]
        yield FiveGrams(folded, _mixed(_five_bytes(tokens, folded.buffer, out=tokens)))


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    """Normalise texts, in parts of about half of `CHUNK_BYTES`, at least one text each."""
    pending: list[str] = []
    size = 0
    for text in texts:
        clean = normalise_characters(text)
        if pending and size + len(clean) > CHUNK_BYTES // 2:
            yield pending
            pending, size = [], 0
        pending.append(clean)
        size += (len(clean) if clean.isascii() else 2 * len(clean)) + PADDING_BYTES + 2
    if pending:
        yield pending


def _chunk(texts: list[str]) -> TextChunk:
    raw, rows = _rows(texts)
    raw_words = word_bounds(raw)
    bounds = raw_words if rows is raw else word_bounds(rows)
    folded = ByteRows(FOLDED.take(rows.buffer), rows.starts, rows.ends)
    words = _hashed_words(folded.buffer, *bounds)
    word_tokens = (words.hashes[:2] >> np.uint64(64 - HASH_BITS)).astype(np.uint32)
    return TextChunk(raw, raw_words, folded, words, _byte_tokens(folded.buffer), word_tokens)


def _rows(texts: list[str]) -> tuple[ByteRows, ByteRows]:
    """Lay normalised texts out with their case, and so that `FOLDED` makes them lower case.

    What disguises one is undone, in the list too.
    """
    raw = ByteRows.of(texts)
    obfuscated = obfuscated_rows(raw).tolist()
    if obfuscated:
        for row in obfuscated:
            texts[row] = deobfuscate(texts[row])
        raw = ByteRows.of(texts)
    if all(map(str.isascii, texts)):
        return raw, raw
    # Only Python knows the lower case beyond ASCII.  It may change lengths: a second layout.
    return raw, ByteRows.of([text.lower()[:MAX_TEXT_CHARACTERS] for text in texts])


def _byte_tokens(buffer: Bytes) -> Tokens:
    """Hash the n-grams of 3, 4 and 5 bytes that start at each byte: (3, bytes - 4).

    The last ones of a row reach into the padding.
    """
    four = four_bytes(buffer)[:-1]
    hashes = np.empty((3, len(four)), dtype=np.uint32)
    three, fours, five = hashes
    np.multiply(four & 0xFFFFFF, _NGRAM_MULTIPLIERS[0], out=three)
    np.multiply(four, _NGRAM_MULTIPLIERS[1], out=fours)
    _five_bytes(fours, buffer, out=five)
    return _mixed(hashes)


def _five_bytes(fours: Tokens, buffer: Bytes, out: Tokens) -> Tokens:
    """Hash 5 bytes from each place on, from the hashes of the first four."""
    np.bitwise_xor(fours, fours >> 13, out=out)
    out *= _NGRAM_MULTIPLIERS[2]
    out += buffer[4:] * _NGRAM_MULTIPLIERS[3]
    return out


def _mixed(hashes: Tokens) -> Tokens:
    hashes ^= hashes >> 15
    hashes *= _MIX32
    hashes >>= 32 - HASH_BITS
    return hashes


def _hashed_words(
    buffer: Bytes, starts: Indices, ends: Indices, first: Indices, last: Indices
) -> WordRows:
    """Hash words and pairs of words; a word's hash is that of its bytes, mixed."""
    words = ByteHashes(buffer).hashes(starts, ends)
    words ^= words >> np.uint64(31)
    words *= _MIX64
    hashes = words * _WORD_MULTIPLIERS
    words ^= words >> np.uint64(29)
    hashes[1, :-1] += words[1:]
    hashes[2, :-2] += words[2:]
    pairs = hashes[1:]
    pairs ^= pairs >> np.uint64(32)
    pairs *= _MIX64
    return WordRows(hashes, first, last)
