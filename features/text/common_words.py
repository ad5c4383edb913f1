"""Common English words: which runs of letters are one, what each costs, and how a run splits.

The words ship as CRC-32 of their small letters, so that many runs are looked up at once by numpy.
Costs are negative log-probabilities in units of 1/8192, as in Norvig, "Natural Language Corpus
Data" (2009): whole numbers, so that sums are exact and equal whatever their order.
"""

from __future__ import annotations

import zlib
from functools import cache
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import Bytes, Indices

Costs = npt.NDArray[np.int32]
Checksums = npt.NDArray[np.uint32]

_WORDS = Path(__file__).parent / "lists" / "words.npy"
LONGEST_WORD = 16
UNIT = 1 << 13
_UNKNOWN_WORD_COST, _UNKNOWN_LETTER_COST = 10.0, 2.3
# A longer run is split in windows of which all are worked on at once.  The letters before a window
# are read with it: what is split there hardly ever depends on letters still further away.
WINDOW_LETTERS, LETTERS_BEFORE = 64, 48
_FILTER_BITS = 20
_FILTER = np.uint32((1 << _FILTER_BITS) - 1)
_BEGIN = np.uint32(0xFFFFFFFF)
# A place from which nothing can go on; twice as much still fits.
_NEVER = 1 << 29
# The lower bits of a sum say how long the last word is: of equal sums that of the longest is least.
_LENGTH_BITS = 4
_LENGTHS = (1 << _LENGTH_BITS) - 1


def unknown_cost(letters: int) -> int:
    """Return the cost of a word that is not in the list."""
    return round((_UNKNOWN_WORD_COST + _UNKNOWN_LETTER_COST * letters) * UNIT)


class _WordTable(NamedTuple):
    """The words by checksum, ascending, with their costs; and which lower bits occur at all."""

    cost_of: dict[int, int]
    checksums: Checksums
    costs: Costs
    has_lower_bits: npt.NDArray[np.bool_]


@cache
def _table() -> _WordTable:
    """The list has the commonest word first; its frequency follows by Zipf's law."""
    words = np.load(_WORDS, allow_pickle=False)
    ranks = {word: rank for rank, word in enumerate(words.tolist())}
    scale = log(len(ranks) + 1)
    cost_of = {word: round(log((rank + 1) * scale) * UNIT) for word, rank in ranks.items()}
    checksums = np.array(sorted(cost_of), dtype=np.uint32)
    costs = np.array([cost_of[word] for word in checksums.tolist()], dtype=np.int32)
    has_lower_bits = np.zeros(1 << _FILTER_BITS, dtype=np.bool_)
    has_lower_bits[checksums & _FILTER] = True
    return _WordTable(cost_of, checksums, costs, has_lower_bits)


@cache
def _crc_table() -> Checksums:
    """What CRC-32 makes of each value of a byte."""
    crcs = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crcs = np.where(crcs & 1, crcs >> 1 ^ np.uint32(0xEDB88320), crcs >> 1)
    return crcs


def is_word(word: str) -> bool:
    """Say whether it is a common English word."""
    return word_cost(word.lower()) is not None


def word_cost(word: str) -> int | None:
    """Return the cost of a common English word, given in small letters; None if it is none.

    It is below `unknown_cost`.
    """
    return _table().cost_of.get(zlib.crc32(word.encode()))


def split_runs(letters: Bytes, firsts: Indices) -> npt.NDArray[np.bool_]:
    """Split runs of letters into the most likely sequences of common words.

    Parameters
    ----------
    letters
        (letters,) the small letters of all runs in ASCII, one run after the other.
    firsts
        (runs,) where each run begins, ascending, the first one 0.

    Returns
    -------
    (letters,) bool: where a word begins.
    """
    lasts = _lengths_of_last_words(letters, firsts).tolist()
    begins, end = np.zeros(len(letters), dtype=np.bool_), len(letters)
    places = []
    while end:
        end -= lasts[end - 1]
        places.append(end)
    begins[places] = True
    return begins


def _lengths_of_last_words(letters: Bytes, firsts: Indices) -> Indices:
    """Return for each letter how long the word is that ends with it, if one does: (letters,).

    Dynamic programming over the ends of words, for the windows of all runs at the same time.
    """
    begins, owned, ends = _windows(firsts, len(letters))
    costs = _costs_by_end(letters)
    sizes = ends - begins
    # The longest first, so that those that are not over yet stand together.
    order = np.argsort(-sizes, kind="stable")
    begins, owned, ends, sizes = begins[order], owned[order], ends[order], sizes[order]
    best = np.full((len(sizes), int(sizes[0]) + LONGEST_WORD), _NEVER, dtype=np.int32)
    best[:, LONGEST_WORD - 1] = 0
    active = np.searchsorted(-sizes, -np.arange(sizes[0]), side="left").tolist()
    found = np.empty((int(sizes[0]), len(sizes)), dtype=np.int32)
    for step, count in enumerate(active):
        sums = costs.take(begins[:count] + step, axis=0)
        sums += best[:count, step : step + LONGEST_WORD]
        least = np.minimum.reduce(sums, axis=1, out=found[step, :count])
        np.bitwise_and(least, ~_LENGTHS, out=best[:count, step + LONGEST_WORD])
    # Only the window to which a letter belongs has its say: before, it warms up.
    own = ends - owned
    window = np.arange(len(own)).repeat(own)
    at = np.arange(int(own.sum())) + (owned - own.cumsum() + own).take(window)
    lasts = np.empty(len(letters), dtype=np.int64)
    lasts[at] = LONGEST_WORD - (found[at - begins.take(window), window] & _LENGTHS)
    return lasts


def _costs_by_end(letters: Bytes) -> Costs:
    """Return the costs of all words by the letter with which they end: (letters, LONGEST_WORD).

    The longest first, shifted by `_LENGTH_BITS`, with `LONGEST_WORD` less the length below.
    """
    words, bytes_of, size = _table(), _crc_table(), len(letters)
    padded = np.zeros(size + LONGEST_WORD, dtype=np.uint8)
    padded[:size] = letters
    by_end = np.zeros((LONGEST_WORD, size + LONGEST_WORD), dtype=np.int32)
    crcs: Checksums = np.full(size, _BEGIN)
    for length in range(1, LONGEST_WORD + 1):
        # The words of so many letters; what one length needs stays in the processor's cache.
        last: Bytes = padded[length - 1 : length - 1 + size]
        crcs = np.bitwise_xor(crcs >> 8, bytes_of.take(crcs.astype(np.uint8) ^ last))
        costs = by_end[-length, length - 1 : length - 1 + size]
        costs[:] = unknown_cost(length)
        maybe = words.has_lower_bits.take(~crcs & _FILTER).nonzero()[0]
        checksums = ~crcs.take(maybe)
        at = words.checksums.searchsorted(checksums)
        is_common = words.checksums.take(at, mode="clip") == checksums
        costs[maybe[is_common]] = words.costs.take(at[is_common])
    by_end <<= _LENGTH_BITS
    by_end |= np.arange(LONGEST_WORD, dtype=np.int32)[:, None]
    return np.ascontiguousarray(by_end[:, :size].T)


def _windows(firsts: Indices, size: int) -> tuple[Indices, Indices, Indices]:
    """Return where windows begin, where what belongs to them begins, and where they end."""
    lengths = np.diff(firsts, append=size)
    counts = -(-lengths // WINDOW_LETTERS)
    run = np.arange(len(firsts)).repeat(counts)
    number = np.arange(len(run)) - (counts.cumsum() - counts).take(run)
    first, end = firsts.take(run), (firsts + lengths).take(run)
    owned = first + number * WINDOW_LETTERS
    begins = np.maximum(first, owned - LETTERS_BEFORE)
    return begins, owned, np.minimum(end, owned + WINDOW_LETTERS)
