"""Near copies of a text: signatures that are alike where texts are.

A text's character 5-grams fall into `BINS` bins; each bin keeps the least hash that fell into it,
in 8 bits (one-permutation, b-bit MinHash; Li, Owen and Zhang 2012).  Of the bins filled in
either of two signatures, the share that agrees estimates the Jaccard similarity of their 5-grams.
Case and digits make no difference, nor does what `text.normalise` folds.

Pure numpy: a row never depends on its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.text.ngrams import Indices, TextBatch, TextChunk

Signatures = npt.NDArray[np.uint8]
Minima = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]

BINS = 64
EMPTY = np.uint8(0)
# Worth comparing: two copies of 20 words, each with four of them changed, are still this alike.
ALIKE = 0.4
# A copy resembles what most of those alike to it have in common: with three changed words of 20
# by 0.8, whereas posts that share a sentence with one and another with the next do not.
COPIED = 0.65
# The one in question is one of these, with more doubt in its favour: it is not the majority.
COPY = 0.55
# What is shorter says too little: everybody writes "good morning everybody".  Words are counted
# between blanks, so that an address is one.
LEAST_WORDS = 10
LEAST_CHARACTERS = 50
# Scripts without blanks between words: two bytes a character on average, and so many.
_LEAST_UNSPACED_BYTES = 150
# One emoji over and over has few different 5-grams.
_LEAST_FILLED = 30

# Texts that agree in all bins of one band meet in a bucket; see `sign`.
BANDS = 10
BUCKET_BITS = 18

_NOTHING = np.uint32(0xFFFFFFFF)
_FIVE_GRAMS = 2
_SPREAD = np.uint32(0x9E3779B1)
_MIX = np.uint32(0x85EBCA6B)
_BAND_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
_OWN_BUCKETS = np.arange(BANDS, dtype=np.int64) << BUCKET_BITS


class SignatureBatch(NamedTuple):
    """Texts as they are compared.

    Attributes
    ----------
    signatures
        (rows, `BINS`).
    buckets
        (rows, `BANDS`), below ``BANDS << BUCKET_BITS``; each band has its own.  Texts of
        similarity s share one with probability 1 - (1 - s**3)**10: 0.96 for 0.65, 0.1 % for 0.05.
    varied
        (rows,) which texts have 5-grams enough to be compared.
    """

    signatures: Signatures
    buckets: Indices
    varied: Flags

    def of(self, rows: Indices | Flags) -> SignatureBatch:
        """Return these rows."""
        return SignatureBatch(self.signatures[rows], self.buckets[rows], self.varied[rows])

    def and_then(self, more: SignatureBatch) -> SignatureBatch:
        """Return these texts with others after them."""
        return SignatureBatch(
            np.concatenate([self.signatures, more.signatures]),
            np.concatenate([self.buckets, more.buckets]),
            np.concatenate([self.varied, more.varied]),
        )


def is_long_enough(text: str) -> bool:
    """Whether a text is long enough for a copy of it to mean something."""
    if len(text) < LEAST_CHARACTERS:
        return False
    if text.count(" ") >= LEAST_WORDS - 1 or len(text.split()) >= LEAST_WORDS:
        return True
    size = 0 if text.isascii() else len(text.encode("utf-8", "replace"))
    return size >= max(_LEAST_UNSPACED_BYTES, 2 * len(text))


def sign(batch: TextBatch) -> SignatureBatch:
    """Sign texts."""
    if not len(batch):
        none = np.zeros(0, dtype=np.int64)
        return SignatureBatch(
            np.zeros((0, BINS), np.uint8), none.reshape(0, BANDS), none.astype(np.bool_)
        )
    least = np.concatenate([_least(chunk) for chunk in batch.chunks])
    # A bin's value in 8 bits: unlike values agree in 1 of 255.
    signatures = ((least * _SPREAD) >> np.uint32(24)).astype(np.uint8)
    np.maximum(signatures, 1, out=signatures)
    signatures[least == _NOTHING] = EMPTY
    varied = np.count_nonzero(signatures, axis=1) >= _LEAST_FILLED
    return SignatureBatch(signatures, _buckets(least), varied)


def _buckets(least: Minima) -> Indices:
    half = BINS // 2
    coarse = np.minimum(least[:, :half], least[:, half:]).astype(np.uint64)
    mixed = coarse[:, :BANDS] * _BAND_MIX[0]
    mixed += coarse[:, BANDS : 2 * BANDS] * _BAND_MIX[1]
    mixed += coarse[:, 2 * BANDS : 3 * BANDS] * _BAND_MIX[2]
    mixed ^= mixed >> np.uint64(29)
    mixed *= _BAND_MIX[0]
    mixed >>= np.uint64(64 - BUCKET_BITS)
    found: Indices = mixed.astype(np.int64) + _OWN_BUCKETS
    return found


def similarity(one: Signatures, other: Signatures) -> npt.NDArray[np.float64]:
    """Return the estimated Jaccard similarity of pairs, (rows,) in [0, 1]; `other` may be one."""
    filled = np.count_nonzero(one | other, axis=1)
    agree = np.count_nonzero((one == other) & (one != EMPTY), axis=1)
    shared: npt.NDArray[np.float64] = agree / np.maximum(filled, 1)
    return shared


def consensus(signed: Signatures) -> Signatures:
    """Return what most of some signatures have in each bin, (1, `BINS`): near that of their origin.

    Of values equally frequent it is the least.
    """
    ordered = np.sort(signed, axis=0)
    new = np.ones(ordered.shape, dtype=np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    position = np.arange(len(ordered))[:, None]
    run = position - np.maximum.accumulate(np.where(new, position, 0), axis=0)
    return np.take_along_axis(ordered, run.argmax(axis=0)[None, :], axis=0)


def _least(chunk: TextChunk) -> Minima:
    block = chunk.blocks[_FIVE_GRAMS]
    mixed = block.tokens * _SPREAD
    mixed ^= mixed >> np.uint32(15)
    mixed *= _MIX
    mixed ^= mixed >> np.uint32(13)
    cells = _row_of_token(len(block.tokens), block.starts, block.ends) * np.uint32(BINS)
    cells += mixed >> np.uint32(26)
    # What belongs to no row falls into one row more, which is cut off.
    least = np.full((len(chunk) + 1) * BINS, _NOTHING, dtype=np.uint32)
    np.minimum.at(least, cells, mixed << np.uint32(6))
    return least.reshape(-1, BINS)[:-1]


def _row_of_token(size: int, starts: Indices, ends: Indices) -> npt.NDArray[np.uint32]:
    """Return the row whose segment each of `size` positions lies in, ``len(starts)`` if none."""
    rows = len(starts)
    bounds = np.zeros(2 * rows + 2, dtype=np.int64)
    bounds[1:-1:2], bounds[2:-1:2], bounds[-1] = starts, ends, size
    lengths = bounds[1:] - bounds[:-1]
    labels = np.full(2 * rows + 1, rows, dtype=np.uint32)
    labels[1::2] = np.arange(rows)
    return np.repeat(labels, lengths)
