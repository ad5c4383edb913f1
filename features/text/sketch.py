"""A text in 64 bits, of which two have more in common the more alike the texts are.

One bit of each bin of the MinHash signature (b-bit minwise hashing, b = 1; Li and König 2010); an
empty bin has that of the last one before it that is filled (one-permutation hashing, densified;
Shrivastava and Li 2014).  Of texts whose sets of 5-grams have a Jaccard similarity of s,
(1 + s) / 2 of the bits are equal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedmill.features.history.near_duplicates import BINS, EMPTY
from feedmill.features.post_batch import PostBatch

# Three quarters of the bits are equal where half of all 5-grams are in both texts.  Of a text with
# nothing of the other so many are in one of 30,000.
_MOST_UNEQUAL = BINS // 4
_BITS = (1 << BINS) - 1
# A text of fewer is none.
_FEWEST_BINS = 3
_SPREAD, _MIX = np.uint32(0x9E3779B1), np.uint32(0xC2B2AE35)
_OF_BIN = np.arange(BINS, dtype=np.uint32) * np.uint32(0x85EBCA6B)


def sketches(batch: PostBatch) -> list[int]:
    """Return the sketch of each post's text, as int64; 0 where there is hardly any 5-gram."""
    found: list[int] = batch.computed(_sketches).tolist()
    return found


def _sketches(batch: PostBatch) -> npt.NDArray[np.int64]:
    signatures = batch.signatures.signatures
    bins = np.arange(2 * BINS)
    twice = np.concatenate((signatures, signatures), axis=1)
    filled = np.where(twice != EMPTY, bins, -1)
    last = np.maximum.accumulate(filled, axis=1)[:, BINS:]
    values = np.take_along_axis(twice, last, axis=1).astype(np.uint32)
    # By bin, too: else a value that fills many of them would decide all their bits.
    bits = ((values * _SPREAD ^ _OF_BIN) * _MIX >> np.uint32(31)).astype(np.uint8)
    found: npt.NDArray[np.int64] = np.packbits(bits, axis=1).view(np.int64)[:, 0]
    found[np.count_nonzero(signatures, axis=1) < _FEWEST_BINS] = 0
    return found


def differ_much(one: int, other: int) -> bool:
    """Return whether less than half of two texts is the same; False where one has no sketch."""
    return bool(one and other) and ((one ^ other) & _BITS).bit_count() > _MOST_UNEQUAL
