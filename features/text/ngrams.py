"""Hashed n-grams of texts: of a whole batch at once by numpy, without a Python object for each.

Pure functions of the texts: a row never depends on the other rows or on the batching.  Hashes are
integer arithmetic modulo 2**32 and 2**64 and weighted sums are sums of integers, so that results
are equal exactly, not up to rounding.  A token is the hash of an n-gram of 3, 4 or 5 bytes, of a
word, or of two neighbouring words; its bucket is its value, below `BUCKETS` (feature hashing;
Weinberger et al. 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.features.text.byte_hashes import CHUNK_BYTES, ByteHashes, odd_multipliers
from feedmill.features.text.byte_rows import (
    FOLDED,
    PADDING_BYTES,
    ByteRows,
    Indices,
    encode,
    word_bounds,
)
from feedmill.features.text.deobfuscation import deobfuscate, normalise_characters
from feedmill.features.text.normalise import obfuscated_rows

Tokens = npt.NDArray[np.uint32]

HASH_BITS = 18
# The tokens of a window of some 200 characters: what a longer text has counts in proportion.
WINDOW_TOKENS = 700
BUCKETS = 1 << HASH_BITS
_NGRAM_MULTIPLIERS = odd_multipliers(4, seed=2).astype(np.uint32)
_MIX32 = np.uint32(0x2C1B3C6D)
_MIX64 = np.uint64(0xD6E8FEB86659FD93)
_PAIR_MULTIPLIER = np.uint64(0xA0761D6478BD642F)
_GAPPED_PAIR_MULTIPLIER = np.uint64(0xE7037ED1A0B428DB)


@dataclass(frozen=True, slots=True)
class TokenBlock:
    """Tokens of one kind: row i has ``tokens[starts[i]:ends[i]]``, each below `BUCKETS`.

    `words` says that the tokens are words or pairs of words, not n-grams of bytes.
    """

    tokens: Tokens
    starts: Indices
    ends: Indices
    words: bool = False


@dataclass(frozen=True, slots=True)
class JoinedBlocks:
    """The tokens of all blocks of a chunk in one array: a model's sums take a few calls of numpy.

    Attributes
    ----------
    tokens
        Those of each block in turn, and a 0: `reduceat` refuses a bound at the end.
    bounds
        (2 * blocks * rows,) where each row of each block begins and ends.
    is_empty
        (blocks, rows): the row has no token of the block.
    is_words
        (blocks,): the block's tokens are words or pairs of words.
    """

    tokens: npt.NDArray[np.int64]
    bounds: Indices
    is_empty: npt.NDArray[np.bool_]
    is_words: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, blocks: Sequence[TokenBlock]) -> JoinedBlocks:
        """Join the blocks of one chunk."""
        sizes = [len(block.tokens) for block in blocks]
        tokens = np.zeros(sum(sizes) + 1, dtype=np.int64)
        np.concatenate([block.tokens for block in blocks], out=tokens[:-1])
        bounds = np.array([(block.starts, block.ends) for block in blocks], dtype=np.int64)
        bounds += np.cumsum([0, *sizes[:-1]])[:, None, None]
        is_empty = bounds[:, 0] >= bounds[:, 1]
        is_words = np.array([block.words for block in blocks])
        return cls(tokens, bounds.transpose(0, 2, 1).ravel(), is_empty, is_words)

    def weighted_sums(
        self, weights: npt.NDArray[np.int32], word_factor: int
    ) -> npt.NDArray[np.int64]:
        """Sum the weights of all tokens of each row, those of words so many times: (rows,)."""
        # Every other sum is of what lies between two rows.
        sums = np.add.reduceat(weights.take(self.tokens), self.bounds)[::2]
        sums = sums.reshape(self.is_empty.shape).astype(np.int64)
        sums[self.is_empty] = 0  # `reduceat` gives one token's weight there
        totals: npt.NDArray[np.int64] = np.where(self.is_words, word_factor, 1) @ sums
        return totals


@dataclass(frozen=True, slots=True)
class WordRows:
    """64-bit hashes of words: row i has ``words[starts[i]:ends[i]]``.

    ``pairs[j]`` is the hash of word j and the next word, which may belong to another row.
    """

    words: npt.NDArray[np.uint64]
    pairs: npt.NDArray[np.uint64]
    starts: Indices
    ends: Indices


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Some consecutive texts of a batch, as models read them.

    Attributes
    ----------
    raw
        The bytes of the texts after `normalise`, case kept.
    words
        The hashes of the words.
    blocks
        The tokens: n-grams of 3, of 4 and of 5 bytes, words, pairs of words.
    token_counts
        (rows,) int64, at least 2.
    """

    raw: ByteRows
    words: WordRows
    blocks: tuple[TokenBlock, ...]
    token_counts: Indices

    def __len__(self) -> int:
        return len(self.raw)


class TextBatch:
    """Texts with their hashed n-grams, computed once for every model that reads them.

    Any text is accepted; what is beyond `MAX_TEXT_CHARACTERS` is not read.  Not safe for more
    than one thread at a time.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self._matrices: dict[str, npt.NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def chunks(self) -> tuple[TextChunk, ...]:
        """The texts in order, in chunks of bounded size; no text is split.  Hashed on first use."""
        return tuple(_chunks(self.texts))

    def matrix(
        self, name: str, compute: Callable[[TextBatch], npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.float32]:
        """Return what `compute` makes of the texts; by each name once, then the same array."""
        if name not in self._matrices:
            self._matrices[name] = compute(self)
        return self._matrices[name]

    def weighted_sums(
        self, weights: npt.NDArray[np.int32], word_factor: int = 1
    ) -> npt.NDArray[np.int64]:
        """Sum the weights of all tokens of each text.

        Parameters
        ----------
        weights
            (`BUCKETS`,), each between -4095 and 4095, so that the sum of no text overflows.
        word_factor
            How many times the weight of a word or of a pair of words counts.

        Returns
        -------
        (rows,) int64, exact.
        """
        parts = [blocks.weighted_sums(weights, word_factor) for blocks in self._joined_blocks]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    @cached_property
    def _joined_blocks(self) -> tuple[JoinedBlocks, ...]:
        return tuple(JoinedBlocks.of(chunk.blocks) for chunk in self.chunks)

    def token_counts(self) -> Indices:
        """Return the number of tokens of each text: (rows,) int64, at least 2."""
        return np.concatenate(
            [c.token_counts for c in self.chunks] or [np.zeros(0, dtype=np.int64)]
        )

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


def _chunks(texts: Sequence[str]) -> Iterator[TextChunk]:
    """Cut texts into chunks of about half of `CHUNK_BYTES`, at least one text each."""
    pending: list[str] = []
    size = 0
    for text in texts:
        clean = normalise_characters(text)
        if pending and size + len(clean) > CHUNK_BYTES // 2:
            yield _chunk(pending)
            pending, size = [], 0
        pending.append(clean)
        size += (len(clean) if clean.isascii() else 2 * len(clean)) + PADDING_BYTES + 2
    if pending:
        yield _chunk(pending)


def _chunk(texts: list[str]) -> TextChunk:
    raw = ByteRows.of([encode(t) for t in texts])
    obfuscated = obfuscated_rows(raw).tolist()
    if obfuscated:
        for row in obfuscated:
            texts[row] = deobfuscate(texts[row])
        raw = ByteRows.of([encode(t) for t in texts])
    if all(map(str.isascii, texts)):
        rows = raw
    else:
        # Only Python knows the lower case beyond ASCII.  It may change lengths: a second layout.
        rows = ByteRows.of([encode(t.lower()[:MAX_TEXT_CHARACTERS]) for t in texts])
    folded = ByteRows(FOLDED.take(rows.buffer), rows.starts, rows.ends)
    words = _hashed_words(folded)
    blocks = (*_character_blocks(folded), *_word_blocks(words))
    counts = sum((b.ends - b.starts for b in blocks), start=np.zeros(len(texts), dtype=np.int64))
    return TextChunk(raw, words, blocks, counts)


def _bucket32(mixed: npt.NDArray[np.uint32]) -> Tokens:
    """Finish 32-bit hashes and keep their first `HASH_BITS` bits; changes `mixed`."""
    mixed ^= mixed >> np.uint32(15)
    mixed *= _MIX32
    return mixed >> np.uint32(32 - HASH_BITS)


def _character_blocks(rows: ByteRows) -> Iterator[TokenBlock]:
    """Hash the n-grams of 3, 4 and 5 bytes that start at each byte of a row.

    The last ones of a row reach into the padding.
    """
    wide = rows.buffer.astype(np.uint32)
    three = wide[:-2] | (wide[1:-1] << np.uint32(8)) | (wide[2:] << np.uint32(16))
    yield TokenBlock(_bucket32(three * _NGRAM_MULTIPLIERS[0]), rows.starts, rows.ends)
    four = three[:-1] | (wide[3:] << np.uint32(24))
    mixed = four * _NGRAM_MULTIPLIERS[1]
    yield TokenBlock(_bucket32(mixed.copy()), rows.starts, rows.ends)
    mixed ^= mixed >> np.uint32(13)
    mixed = mixed[:-1] * _NGRAM_MULTIPLIERS[2]
    mixed += wide[4:] * _NGRAM_MULTIPLIERS[3]
    yield TokenBlock(_bucket32(mixed), rows.starts, rows.ends)


def _hashed_words(rows: ByteRows) -> WordRows:
    """Hash words and pairs of neighbouring words; a word's hash is that of its bytes, mixed."""
    starts, ends, first, last = word_bounds(rows)
    words = ByteHashes(rows.buffer).hashes(starts, ends)
    words ^= words >> np.uint64(31)
    words *= _MIX64
    return WordRows(words, _paired(words, _PAIR_MULTIPLIER, 1), first, last)


def _paired(
    words: npt.NDArray[np.uint64], multiplier: np.uint64, distance: int
) -> npt.NDArray[np.uint64]:
    """Hash each word with the word `distance` after it: (words,)."""
    following = np.zeros_like(words)
    following[:-distance] = words[distance:]
    pairs = words * multiplier + (following ^ (following >> np.uint64(29)))
    pairs ^= pairs >> np.uint64(32)
    pairs *= _MIX64
    return pairs


def gapped_pairs(rows: WordRows) -> npt.NDArray[np.uint64]:
    """Hash each word with the next but one, which may belong to another row: (words,)."""
    return _paired(rows.words, _GAPPED_PAIR_MULTIPLIER, 2)


def _word_blocks(rows: WordRows) -> Iterator[TokenBlock]:
    """Yield the tokens of words, and of pairs of words within a row."""
    shift = np.uint64(64 - HASH_BITS)
    yield TokenBlock((rows.words >> shift).astype(np.uint32), rows.starts, rows.ends, words=True)
    pairs = (rows.pairs >> shift).astype(np.uint32)
    last = np.maximum(rows.ends - 1, rows.starts)
    yield TokenBlock(pairs, rows.starts, last, words=True)
