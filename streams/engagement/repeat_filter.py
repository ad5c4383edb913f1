"""Whether a key came before, in the present generation of keys or in the former one.

So memory and the log that restores it are bounded: what is known follows from two generations of
keys alone, and reading them again restores it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from feedmill.tables.extendible_hash import ExtendibleHash

KEY_BITS = 63
_NUMBER_BITS = 31
_NUMBER = (1 << _NUMBER_BITS) - 1
# So few keys are looked up one by one.
_FEW = 16


class RepeatFilter:
    """Keys of two generations, 16 to 32 bytes each.

    Keys are well spread whole numbers below ``2 ** KEY_BITS``, as of `hash(str)`: of a million of
    them a new one counts as known once in 10**13 times.
    """

    def __init__(self) -> None:
        self._generation = -1
        self._present, self._former = ExtendibleHash(), ExtendibleHash()

    @property
    def used_bytes(self) -> int:
        """Bytes of both hash tables."""
        return self._present.used_bytes + self._former.used_bytes

    def repeats(self, keys: Sequence[int], generations: Sequence[int]) -> list[bool]:
        """Note keys, each of its generation; say of each whether it was known.

        No generation ever comes back: one that is lower than the last counts as the last.
        """
        found: list[bool] = []
        for generation, group in groupby(generations):
            self._turn_to(generation)
            first = len(found)
            some = keys[first : first + len(list(group))]
            found += self._note_few(some) if len(some) < _FEW else self._note_many(some)
        return found

    def _turn_to(self, generation: int) -> None:
        if generation <= self._generation:
            return
        follows = generation == self._generation + 1
        self._former = self._present if follows else ExtendibleHash()
        self._present = ExtendibleHash()
        self._generation = generation

    def _note_few(self, keys: Sequence[int]) -> list[bool]:
        found = []
        for key in keys:
            hashed, number = key >> _NUMBER_BITS, key & _NUMBER
            is_present = number in self._present.find(hashed)
            found.append(is_present or number in self._former.find(hashed))
            if not is_present:
                self._present.insert(hashed, number)
        return found

    def _note_many(self, keys: Sequence[int]) -> list[bool]:
        unique, first = np.unique(np.array(keys, np.int64), return_index=True)
        hashes = (unique >> _NUMBER_BITS).astype(np.uint32)
        numbers = (unique & _NUMBER).astype(np.int32)
        is_present = _known(self._present, hashes, numbers)
        repeats = np.ones(len(keys), np.bool_)
        repeats[first] = is_present | _known(self._former, hashes, numbers)
        self._present.insert_many(hashes[~is_present], numbers[~is_present])
        found: list[bool] = repeats.tolist()
        return found


def _known(
    table: ExtendibleHash, hashes: npt.NDArray[np.uint32], numbers: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Return which keys a table has."""
    found = table.find_many(hashes)
    known: npt.NDArray[np.bool_] = found == numbers
    # Another key may have the same hash.
    for i in ((found >= 0) & ~known).nonzero()[0].tolist():
        known[i] = int(numbers[i]) in table.find(int(hashes[i]))
    return known
