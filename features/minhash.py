"""Near-duplicate texts: MinHash signatures, which are similar where the texts are.

The character 5-grams of a text are hashed into `BINS` bins; a bin keeps 8 bits of the least hash
that fell into it (one-permutation MinHash with b-bit values; Li, Owen and Zhang 2012).  Of the
bins that are filled in either of two signatures, the fraction with equal values estimates the
Jaccard similarity of the two sets of 5-grams.  Case and digits make no difference, nor does
anything else that `text.normalise` removes.

A *sketch* is a text in 64 bits, of which two have more in common the more alike the texts are: one
bit of each bin (b-bit minwise hashing, b = 1; Li and König 2010); an empty bin has that of the last
one before it that is filled (one-permutation hashing, densified; Shrivastava and Li 2014).  Of
texts whose sets of 5-grams have a Jaccard similarity of s, (1 + s) / 2 of the bits are equal.

Pure numpy: a row never depends on the other rows of its batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import GOLDEN, PADDING_BYTES, FiveGrams, Indices

Signatures = npt.NDArray[np.uint8]
Minima = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]

_BIN_BITS = 6
BINS = 1 << _BIN_BITS
EMPTY = np.uint8(0)
# Two texts are worth comparing further.  Two copies of 20 words, each with four of them changed,
# are still this similar.
MIN_SIMILARITY = 0.4
# An earlier text is a copy if it is this similar to the consensus of the texts around it.  Three
# changed words of 20 leave 0.8; posts that share a sentence each with another post stay below.
MIN_COPY_SIMILARITY = 0.65
# The new text needs less: the consensus is that of the others, and the doubt is in its favour.
MIN_NEW_COPY_SIMILARITY = 0.55
# A shorter text is no evidence: everybody writes "good morning everybody".  Words are what stands
# between blanks, so that an address is one word.
MIN_WORDS = 10
MIN_CHARACTERS = 50
# For scripts without blanks between words, which take two bytes a character on average or more.
_MIN_UNSPACED_BYTES = 150
# One emoji over and over has few different 5-grams.
_MIN_FILLED_BINS = 30
# Three quarters of the bits of sketches are equal where half of all 5-grams are in both texts.  Of
# a text with nothing of the other so many are in one of 30,000.
_MOST_UNEQUAL = BINS // 4
_SKETCH_BITS = (1 << BINS) - 1
# A text of fewer has no sketch.
_FEWEST_BINS = 3
_BIN_SPREAD, _BIN_MIX = np.uint32(0x9E3779B1), np.uint32(0xC2B2AE35)
_OF_BIN = np.arange(BINS, dtype=np.uint32) * np.uint32(0x85EBCA6B)

# Texts that agree in all bins of one band meet in a bucket; see `SignatureBatch.buckets`.
BANDS = 10
BUCKET_BITS = 18

_NO_HASH = np.uint32(0xFFFFFFFF)
_TO_BIN = np.uint32(32 - _BIN_BITS)
_SPREAD = np.uint32(0x9E3779B1)
_MIX = np.uint32(0x85EBCA6B)
_BAND_MIX = np.array([GOLDEN, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
_FIRST_BUCKETS = np.arange(BANDS, dtype=np.int64) << BUCKET_BITS


class SignatureBatch(NamedTuple):
    """The signatures of some texts.

    Attributes
    ----------
    signatures
        (rows, `BINS`) uint8; `EMPTY` where no 5-gram fell into a bin.
    buckets
        (rows, `BANDS`) int64 below ``BANDS << BUCKET_BITS``; each band has buckets of its own.
        Two texts of similarity s share a bucket with probability 1 - (1 - s**3)**10: 0.96 for
        s = 0.65, 0.1 % for s = 0.05 (banding; Leskovec et al., "Mining of Massive Datasets" 3.4).
    comparable
        (rows,) bool: the text has enough different 5-grams to be compared.
    """

    signatures: Signatures
    buckets: Indices
    comparable: Flags

    def take(self, rows: Indices | Flags) -> SignatureBatch:
        """Return a copy of these rows."""
        return SignatureBatch._make(part[rows] for part in self)

    def append(self, other: SignatureBatch) -> SignatureBatch:
        """Return the rows of both, those of `other` last."""
        return SignatureBatch(
            np.concatenate((self.signatures, other.signatures)),
            np.concatenate((self.buckets, other.buckets)),
            np.concatenate((self.comparable, other.comparable)),
        )


def is_long_enough(text: str) -> bool:
    """Say whether a text is so long that a copy of it is hardly a coincidence."""
    if len(text) < MIN_CHARACTERS:
        return False
    if text.count(" ") >= MIN_WORDS - 1 or len(text.split()) >= MIN_WORDS:
        return True
    size = 0 if text.isascii() else len(text.encode("utf-8", "replace"))
    return size >= max(_MIN_UNSPACED_BYTES, 2 * len(text))


def minhash(chunks: Iterable[FiveGrams]) -> SignatureBatch:
    """Return the signatures of all texts of some chunks, short ones too."""
    parts = [_bin_minima(chunk) for chunk in chunks]
    minima = np.concatenate(parts) if parts else np.zeros((0, BINS), dtype=np.uint32)
    is_filled = minima != _NO_HASH
    # 8 bits of a bin's value: unequal values look equal in 1 of 255 cases.
    signatures = ((minima * _SPREAD) >> np.uint32(24)).astype(np.uint8)
    np.maximum(signatures, 1, out=signatures)
    signatures *= is_filled
    # `count_nonzero` by row takes three times as long on one text.
    comparable = np.add.reduce(is_filled, axis=1, dtype=np.intp) >= _MIN_FILLED_BINS
    return SignatureBatch(signatures, _buckets(minima), comparable)


def _buckets(minima: Minima) -> Indices:
    """Hash three coarse bins to the bucket of each band: (rows, `BANDS`)."""
    half = BINS // 2
    coarse = np.minimum(minima[:, :half], minima[:, half:]).astype(np.uint64)
    of_bands = coarse[:, : 3 * BANDS].reshape(-1, 3, BANDS)
    mixed = _BAND_MIX @ of_bands
    mixed ^= mixed >> np.uint64(29)
    mixed *= _BAND_MIX[0]
    mixed >>= np.uint64(64 - BUCKET_BITS)
    buckets: Indices = mixed.view(np.int64)
    buckets += _FIRST_BUCKETS
    return buckets


def similarity(first: Signatures, other: Signatures) -> npt.NDArray[np.float64]:
    """Estimate the Jaccard similarity of pairs of texts.

    Parameters
    ----------
    first, other
        (rows, `BINS`) each; `other` may have a single row, which is then compared with every row.
    """
    filled = np.count_nonzero(first | other, axis=1)
    equal = np.count_nonzero((first == other) & (first != EMPTY), axis=1)
    fractions: npt.NDArray[np.float64] = equal / np.maximum(filled, 1)
    return fractions


def consensus(signatures: Signatures) -> Signatures:
    """Return the most frequent value of each bin, the least of equally frequent ones: (1, `BINS`).

    For varied copies of one text this is close to the signature of that text.
    """
    ordered = np.sort(signatures, axis=0)
    is_new = np.ones(ordered.shape, dtype=np.bool_)
    is_new[1:] = ordered[1:] != ordered[:-1]
    position = np.arange(len(ordered))[:, None]
    run = position - np.maximum.accumulate(np.where(is_new, position, 0), axis=0)
    return np.take_along_axis(ordered, run.argmax(axis=0)[None, :], axis=0)


def sketches_of(signatures: Signatures) -> npt.NDArray[np.int64]:
    """Return the sketch of each row of signatures: (rows,); 0 where there is hardly any 5-gram."""
    bins = np.arange(2 * BINS)
    twice = np.concatenate((signatures, signatures), axis=1)
    filled = np.where(twice != EMPTY, bins, -1)
    last = np.maximum.accumulate(filled, axis=1)[:, BINS:]
    values = np.take_along_axis(twice, last, axis=1).astype(np.uint32)
    # By bin, too: else a value that fills many of them would decide all their bits.
    bits = ((values * _BIN_SPREAD ^ _OF_BIN) * _BIN_MIX >> np.uint32(31)).astype(np.uint8)
    found: npt.NDArray[np.int64] = np.packbits(bits, axis=1).view(np.int64)[:, 0]
    found[np.count_nonzero(signatures, axis=1) < _FEWEST_BINS] = 0
    return found


def differ_much(sketch: int, other: int) -> bool:
    """Return whether less than half of two texts is the same, by their sketches.

    False where one has no sketch.
    """
    return bool(sketch and other) and ((sketch ^ other) & _SKETCH_BITS).bit_count() > _MOST_UNEQUAL


def _bin_minima(chunk: FiveGrams) -> Minima:
    """Return the least hash of each bin, `_NO_HASH` where a bin is empty: (rows, `BINS`)."""
    rows, ends = len(chunk.rows), chunk.rows.ends
    if rows == 1:
        hashes = _mixed(chunk.tokens[: ends[0]])
        minima: Minima = np.full((1, BINS), _NO_HASH, dtype=np.uint32)
        # Of another type than indices have, `at` takes three times as long.
        bins = (hashes >> _TO_BIN).astype(np.intp)
        np.minimum.at(minima[0], bins, hashes << _BIN_BITS)
        return minima
    hashes = _mixed(chunk.tokens)
    sizes = ends - chunk.rows.starts + PADDING_BYTES
    cells = np.arange(0, rows * BINS, BINS).repeat(sizes)[: len(hashes)]
    cells += hashes >> _TO_BIN
    # What begins in the padding belongs to no text.
    between = (ends[:, None] + np.arange(PADDING_BYTES)).ravel()
    hashes <<= _BIN_BITS
    hashes[between[between < len(hashes)]] = _NO_HASH
    minima = np.full(rows * BINS, _NO_HASH, dtype=np.uint32)
    np.minimum.at(minima, cells, hashes)
    return minima.reshape(-1, BINS)


def _mixed(tokens: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Hash tokens once more, so that all bits of the hashes count: (tokens,)."""
    hashes = tokens * _SPREAD
    hashes ^= hashes >> np.uint32(15)
    hashes *= _MIX
    hashes ^= hashes >> np.uint32(13)
    return hashes
