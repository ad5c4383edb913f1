"""A table of ids and their numbers, without a Python object for each."""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt

from feedmill.tables.extendible_hash import ExtendibleHash
from feedmill.tables.id_arena import IdArena, encode
from feedmill.tables.sweep import Sweep

Numbers = npt.NDArray[np.int32]

_HASH = (1 << 32) - 1


class IdTable:
    """Ids, at most 256 bytes each, and a number for each, low ones first.

    A number goes through two steps when its id is not needed any more: after `forget` it is not
    found, but still has its text; after `recycle` it may stand for another id.

    Attributes
    ----------
    bound
        Every number given so far is below it.
    sweeping
        Which numbers nothing refers to; `add` tells it what comes into use.
    """

    def __init__(self) -> None:
        self.bound = 0
        self.sweeping = Sweep()
        self._arena = IdArena()
        self._hash = ExtendibleHash()
        self._spare = array("i")
        self._count = 0

    def __len__(self) -> int:
        """How many ids are found."""
        return self._count

    def __getitem__(self, number: int) -> str:
        """The id of this number, "" where it has none."""
        return self._arena.read(number) if number < self.bound else ""

    def read_many(self, numbers: Numbers) -> list[str]:
        """The id of each number; they are of ids that were added."""
        return self._arena.read_many(numbers.tolist())

    @property
    def used_bytes(self) -> int:
        """The bytes of all that grows with the ids."""
        spare_bytes = len(self._spare) * self._spare.itemsize
        return self._arena.used_bytes + self._hash.used_bytes + spare_bytes

    def find(self, text: str) -> int | None:
        """The number of an id that is known, else None."""
        candidates = self._hash.find(hash(text) & _HASH)
        if candidates:
            encoded = encode(text)
            for number in candidates:
                if self._arena.holds(number, encoded):
                    return number
        return None

    def add(self, text: str) -> int:
        """The number of an id, a new one if it is new."""
        number = self.find(text)
        if number is None:
            number = self._new_number()
            self._arena.put(number, encode(text))
            self._hash.insert(hash(text) & _HASH, number)
            self._count += 1
        if self.sweeping.is_running:
            self.sweeping.mark(number)
        return number

    def forget(self, number: int) -> None:
        """Have the id of this number not found any more."""
        self._hash.remove(hash(self[number]) & _HASH, number)
        self._count -= 1

    def recycle(self, number: int) -> None:
        """Let a number that was forgotten stand for another id some time."""
        self._arena.drop(number)
        self._spare.append(number)

    def sweep(self, most: int) -> int:
        """Forget at most `most` ids that `sweeping` finds unused; returns how many it forgot."""
        unused = [number for number in self.sweeping.next_unused(most) if self[number]]
        for number in unused:
            self.forget(number)
            self.recycle(number)
        self.tidy()
        return len(unused)

    def tidy(self) -> None:
        """Move some text if that saves memory; call it about once in a thousand recycled ids."""
        self._arena.tidy()

    def _new_number(self) -> int:
        if self._spare:
            return self._spare.pop()
        self.bound += 1
        return self.bound - 1
