"""Whether a key came before, in the present generation of keys or in the former one.

So memory and the log that restores it are bounded: what is known follows from two generations of
keys alone, and reading them again restores it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from feedmill.tables.extendible_hash import ExtendibleHash

KEY_BITS = 63
_NUMBER_BITS = 31
_NUMBER = (1 << _NUMBER_BITS) - 1


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

        One just below the last counts as the last.  A lower one is that of a clock that was set
        back, and a generation like the others: one stamp in the future latches nothing.
        """
        found: list[bool] = []
        for generation, group in groupby(generations):
            self._turn_to(generation)
            first = len(found)
            some = keys[first : first + len(list(group))]
            found += self._note(some)
        return found

    def _turn_to(self, generation: int) -> None:
        if self._generation - 1 <= generation <= self._generation:
            return
        is_far_ahead = generation > self._generation + 1
        self._former = ExtendibleHash() if is_far_ahead else self._present
        self._present = ExtendibleHash()
        self._generation = generation

    def _note(self, keys: Sequence[int]) -> list[bool]:
        found = []
        for key in keys:
            hashed, number = key >> _NUMBER_BITS, key & _NUMBER
            is_present = number in self._present.find(hashed)
            found.append(is_present or number in self._former.find(hashed))
            if not is_present:
                self._present.insert(hashed, number)
        return found
