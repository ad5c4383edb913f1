"""Hashes of many runs of bytes in one buffer, from prefix sums, by numpy.

A hash is a polynomial over the bytes modulo 2**64 (Karp and Rabin 1987), shifted back to the start
of its run: equal bytes have equal hashes, wherever they stand.  It is no secret and resists nobody
who looks for collisions.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.features.text.byte_rows import Bytes, Indices

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
