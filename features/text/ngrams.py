"""Texts become numbers: hashed n-grams of a whole batch by numpy, not one Python object each.

Pure functions of the texts: a row never depends on its neighbours or on the batching.  Hashes are
integer arithmetic modulo 2**32 and 2**64, sums of table entries are integers, so that equality is
exact and not "up to rounding".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedmill.features.text.deobfuscation import (
    LEET,
    MANY_LONE,
    MAX_CHARACTERS,
    deobfuscate,
    normalise_characters,
)

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.uint32]

HASH_BITS = 18
BUCKETS = 1 << HASH_BITS
# One chunk's temporaries stay in the processor's cache, and its memory is bounded.
CHUNK_BYTES = 1 << 16
# The longest n-gram reaches four bytes beyond the last one of its row.
PAD = 5
_PADDING = b" " + b"\0" * PAD


def _fold_table() -> Bytes:
    """Lower case for ASCII, one digit for all, one blank for all controls (0 stays the padding)."""
    table = np.arange(256, dtype=np.uint8)
    table[1:33] = 32
    table[127] = 32
    table[65:91] += 32
    table[48:58] = 48
    return table


def _word_table() -> npt.NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[128:] = True
    table[[*range(48, 58), *range(65, 91), *range(97, 123), 39, 95]] = True
    return table


def _odd_multipliers(count: int, seed: int) -> npt.NDArray[np.uint64]:
    """`count` fixed odd 64-bit numbers (splitmix64 from `seed`)."""
    mask, state, values = (1 << 64) - 1, seed, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        values.append((mixed ^ (mixed >> 31)) | 1)
    return np.array(values, dtype=np.uint64)


_IS_LETTER, _IS_SIGN, _IS_SHRIEK, _IS_BLANK, _IS_SOLID, _IS_LONE = 1, 2, 4, 8, 16, 32


def _kind_table() -> Bytes:
    """What a byte is to the search for disguises; blanks as `str.isspace` has them in ASCII."""
    table = np.zeros(256, dtype=np.uint8)
    table[[*range(65, 91), *range(97, 123)]] |= _IS_LETTER
    table[list(LEET.replace(b"!", b""))] |= _IS_SIGN
    table[ord("!")] |= _IS_SHRIEK
    table[[*range(9, 14), *range(28, 33)]] |= _IS_BLANK
    table[33:127] |= _IS_SOLID
    table[[c for c in range(65, 123) if chr(c).isalpha() and chr(c) not in "aAiI"]] |= _IS_LONE
    return table


FOLD = _fold_table()
IS_WORD = _word_table()
_KINDS = _kind_table()
_LETTER = _odd_multipliers(256, seed=1)
_BASE = 0x9E3779B97F4A7C15
_BASE_INVERSE = pow(_BASE, -1, 1 << 64)
_NGRAM = _odd_multipliers(4, seed=2).astype(np.uint32) | np.uint32(1)
_MIX32 = np.uint32(0x2C1B3C6D)
_MIX64 = np.uint64(0xD6E8FEB86659FD93)
_PAIR = np.uint64(0xA0761D6478BD642F)
_GAPPED = np.uint64(0xE7037ED1A0B428DB)


def _powers(base: int, count: int) -> npt.NDArray[np.uint64]:
    column = np.full(count, base & ((1 << 64) - 1), dtype=np.uint64)
    column[0] = 1
    return np.cumprod(column, dtype=np.uint64)


_MAX_CHUNK = CHUNK_BYTES + 4 * MAX_CHARACTERS + 64
_POWERS = _powers(_BASE, _MAX_CHUNK)
_INVERSE_POWERS = _powers(_BASE_INVERSE, _MAX_CHUNK)


def normalise(text: str) -> str:
    """Return the text as the models read it, its case kept; see `deobfuscation`."""
    text = normalise_characters(text)
    return deobfuscate(text) if len(obfuscated_rows(ByteRows.of([_encode(text)]))) else text


@dataclass(frozen=True, slots=True)
class ByteRows:
    """The UTF-8 bytes of several texts in one buffer, padded so that no n-gram crosses a row.

    Row i is ``buffer[starts[i]:ends[i]]``: a blank, the text, a blank; `PAD` zero bytes follow.
    """

    buffer: Bytes
    starts: Indices
    ends: Indices

    @classmethod
    def of(cls, encoded: Sequence[bytes]) -> ByteRows:
        """Lay out texts already encoded as UTF-8."""
        joined = b" " + (_PADDING + b" ").join(encoded) + _PADDING if encoded else b""
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)) + 2
        ends = np.cumsum(lengths + PAD) - PAD
        return cls(np.frombuffer(joined, dtype=np.uint8), ends - lengths, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def row_of_byte(self) -> Indices:
        """Return the row that each byte of the buffer, padding included, belongs to."""
        return np.repeat(np.arange(len(self)), self.ends - self.starts + PAD)


@dataclass(frozen=True, slots=True)
class TokenBlock:
    """Hashed tokens of one kind: row i has ``tokens[starts[i]:ends[i]]``, below `BUCKETS`."""

    tokens: Tokens
    starts: Indices
    ends: Indices
    words: bool = False  # whole words or pairs of them


@dataclass(frozen=True, slots=True)
class WordRows:
    """64-bit hashes of the words: row i has ``words[starts[i]:ends[i]]``.

    ``pairs[j]`` is the hash of word j and the next one, which may stand in another row.
    """

    words: npt.NDArray[np.uint64]
    pairs: npt.NDArray[np.uint64]
    starts: Indices
    ends: Indices


@dataclass(frozen=True, slots=True)
class TextChunk:
    """What the models read of some consecutive texts: raw bytes, words, token blocks and counts."""

    raw: ByteRows
    words: WordRows
    blocks: tuple[TokenBlock, ...]
    sizes: Indices  # (rows,) number of tokens, at least 2

    def __len__(self) -> int:
        return len(self.raw)


class TextBatch:
    """Texts with their hashed n-grams, computed once and shared by every model that reads them.

    Iterating yields `TextChunk`s of bounded size in order.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.chunks = tuple(_chunks(texts))

    def __len__(self) -> int:
        return len(self.texts)

    def weighted_sums(
        self, table: npt.NDArray[np.int32], word_factor: int = 1
    ) -> npt.NDArray[np.int64]:
        """Sum ``table[token]`` over all tokens of each text: (rows,), exact.

        Words and their pairs count `word_factor` times.  `table` has `BUCKETS` entries, each at
        most 4095 in size, so that no text overflows.
        """
        parts = [
            sum(
                segment_sums(table[b.tokens], b.starts, b.ends) * (word_factor if b.words else 1)
                for b in chunk.blocks
            )
            for chunk in self.chunks
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def token_counts(self) -> Indices:
        """Return the number of tokens of each text: (rows,), at least 2."""
        return np.concatenate([c.sizes for c in self.chunks] or [np.zeros(0, dtype=np.int64)])


def segment_sums(
    values: npt.NDArray[np.int32], starts: Indices, ends: Indices
) -> npt.NDArray[np.int64]:
    """Sum ``values[start:end]`` of each pair; an empty segment sums to 0."""
    if not len(starts):
        return np.zeros(0, dtype=np.int64)
    bounds = np.empty(2 * len(starts), dtype=np.int64)
    bounds[0::2], bounds[1::2] = starts, ends
    if bounds.max() >= len(values):  # reduceat refuses a bound at the end
        values = np.append(values, np.zeros(1, dtype=values.dtype))
    totals = np.add.reduceat(values, bounds)[::2].astype(np.int64)
    totals[starts >= ends] = 0
    return totals


def _chunks(texts: Sequence[str]) -> Iterator[TextChunk]:
    pending: list[str] = []
    size = 0
    for text in texts:
        clean = normalise_characters(text)
        if pending and size + len(clean) > CHUNK_BYTES // 2:
            yield _chunk(pending)
            pending, size = [], 0
        pending.append(clean)
        size += (len(clean) if clean.isascii() else 2 * len(clean)) + len(_PADDING) + 1
    if pending:
        yield _chunk(pending)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _chunk(texts: list[str]) -> TextChunk:
    raw = ByteRows.of([_encode(t) for t in texts])
    disguised = obfuscated_rows(raw).tolist()
    if disguised:
        for row in disguised:
            texts[row] = deobfuscate(texts[row])
        raw = ByteRows.of([_encode(t) for t in texts])
    if all(map(str.isascii, texts)):
        rows = raw
    else:
        # Only Python knows the lower case beyond ASCII; the length may change, so a second layout.
        rows = ByteRows.of([_encode(t.lower()[:MAX_CHARACTERS]) for t in texts])
    folded = ByteRows(FOLD[rows.buffer], rows.starts, rows.ends)
    words = _hashed_words(folded)
    blocks = (*_character_blocks(folded), *_word_blocks(words))
    sizes = sum((b.ends - b.starts for b in blocks), start=np.zeros(len(texts), dtype=np.int64))
    return TextChunk(raw, words, blocks, sizes)


def obfuscated_rows(rows: ByteRows) -> Indices:
    """Return the rows that `deobfuscate` may change: letters set apart, signs beside letters."""
    kinds = _KINDS[rows.buffer]
    letter, sign = (kinds & _IS_LETTER).astype(np.bool_), (kinds & _IS_SIGN).astype(np.bool_)
    # Side by side: sign and letter, or an exclamation mark and what follows it in the word.
    shriek = (kinds & _IS_SHRIEK).astype(np.bool_)
    near = (letter[1:] | sign[1:]) & shriek[:-1]
    near |= (sign[1:] & letter[:-1]) | (letter[1:] & sign[:-1])
    blank = (kinds & _IS_BLANK).astype(np.bool_)
    solid = (kinds & _IS_SOLID).astype(np.bool_)
    single = blank[:-2] & solid[1:-1] & blank[2:]
    apart = single[:-6] & single[2:-4] & single[4:-2] & single[6:]
    places = np.concatenate([np.flatnonzero(near), np.flatnonzero(apart)])
    lone = np.flatnonzero(single & (kinds[1:-1] & _IS_LONE).astype(np.bool_)) + 1
    owner = np.searchsorted(rows.starts, lone, side="right") - 1
    torn = np.flatnonzero(np.bincount(owner, minlength=len(rows)) >= MANY_LONE)
    return np.union1d(np.searchsorted(rows.starts, places, side="right") - 1, torn)


def _bucket32(mixed: npt.NDArray[np.uint32]) -> Tokens:
    mixed ^= mixed >> np.uint32(15)
    mixed *= _MIX32
    return mixed >> np.uint32(32 - HASH_BITS)


def _character_blocks(rows: ByteRows) -> Iterator[TokenBlock]:
    """Hash the 3-, 4- and 5-grams that begin at each byte of a row; the last run into padding."""
    wide = rows.buffer.astype(np.uint32)
    three = wide[:-2] | (wide[1:-1] << np.uint32(8)) | (wide[2:] << np.uint32(16))
    yield TokenBlock(_bucket32(three * _NGRAM[0]), rows.starts, rows.ends)
    four = three[:-1] | (wide[3:] << np.uint32(24))
    mixed = four * _NGRAM[1]
    yield TokenBlock(_bucket32(mixed.copy()), rows.starts, rows.ends)
    mixed ^= mixed >> np.uint32(13)
    mixed = mixed[:-1] * _NGRAM[2]
    mixed += wide[4:] * _NGRAM[3]
    yield TokenBlock(_bucket32(mixed), rows.starts, rows.ends)


def word_bounds(rows: ByteRows) -> tuple[Indices, Indices, Indices, Indices]:
    """Return the words' starts and ends in the buffer, and each row's first word and its end."""
    inside = IS_WORD[rows.buffer]
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]
    return starts, ends, np.searchsorted(starts, rows.starts), np.searchsorted(starts, rows.ends)


def _hashed_words(rows: ByteRows) -> WordRows:
    """Hash words and pairs of neighbouring words: a polynomial over the bytes, by prefix sums."""
    starts, ends, first, last = word_bounds(rows)
    prefix = np.zeros(len(rows.buffer) + 1, dtype=np.uint64)
    np.cumsum(_LETTER[rows.buffer] * _POWERS[: len(rows.buffer)], out=prefix[1:])
    words = (prefix[ends] - prefix[starts]) * _INVERSE_POWERS[starts]
    words ^= words >> np.uint64(31)
    words *= _MIX64
    return WordRows(words, _paired(words, _PAIR, 1), first, last)


def _paired(
    words: npt.NDArray[np.uint64], multiplier: np.uint64, apart: int
) -> npt.NDArray[np.uint64]:
    following = np.zeros_like(words)
    following[:-apart] = words[apart:]
    pairs = words * multiplier + (following ^ (following >> np.uint64(29)))
    pairs ^= pairs >> np.uint64(32)
    pairs *= _MIX64
    return pairs


def gapped_pairs(rows: WordRows) -> npt.NDArray[np.uint64]:
    """Hash each word and the next but one, which may stand in another row: (words,)."""
    return _paired(rows.words, _GAPPED, 2)


def _word_blocks(rows: WordRows) -> Iterator[TokenBlock]:
    """Bucket the words and the pairs that do not cross a row."""
    shift = np.uint64(64 - HASH_BITS)
    yield TokenBlock((rows.words >> shift).astype(np.uint32), rows.starts, rows.ends, words=True)
    pairs = (rows.pairs >> shift).astype(np.uint32)
    last = np.maximum(rows.ends - 1, rows.starts)
    yield TokenBlock(pairs, rows.starts, last, words=True)
