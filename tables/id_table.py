"""A table of ids and their numbers, without a Python object for each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feedmill.tables.extendible_hash import ExtendibleHash, Hashes
from feedmill.tables.id_arena import IdArena, encode, encode_many
from feedmill.tables.sweep import Sweep

Numbers = npt.NDArray[np.int32]

_HASH = (1 << 32) - 1
# With fewer ids plain Python is as quick as numpy.
_MANY_FROM = 16


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
        if len(numbers) < _MANY_FROM:
            return [self._arena.read(number) for number in numbers.tolist()]
        return self._arena.read_many(numbers)

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

    def find_many(self, texts: Sequence[str]) -> Numbers:
        """The number of each id, -1 where it is not known."""
        if len(texts) < _MANY_FROM:
            found = (self.find(text) for text in texts)
            return np.array([-1 if number is None else number for number in found], np.int32)
        return self._find_many(texts, _hashes(texts))

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

    def add_many(self, texts: Sequence[str]) -> Numbers:
        """The number of each id, new ones for those that are new."""
        if len(texts) < _MANY_FROM:
            return np.array([self.add(text) for text in texts], np.int32)
        hashes = _hashes(texts)
        numbers = self._find_many(texts, hashes)
        unknown = np.flatnonzero(numbers < 0).tolist()
        if unknown:
            first = {}
            for i in reversed(unknown):
                first[texts[i]] = i
            places = np.array(sorted(first.values()))
            numbers[places] = self._insert(texts, hashes, places)
            if len(places) < len(unknown):
                for i in unknown:
                    numbers[i] = numbers[first[texts[i]]]
        if self.sweeping.is_running:
            self.sweeping.mark_many(numbers)
        return numbers

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

    def _find_many(self, texts: Sequence[str], hashes: Hashes) -> Numbers:
        numbers = self._hash.find_many(hashes)
        known = np.flatnonzero(numbers >= 0)
        if not len(known):
            return numbers
        if len(known) < len(texts):
            texts = [texts[i] for i in known.tolist()]
        same = self._arena.hold(numbers[known], *encode_many(texts))
        # Where another id has the same hash, it is searched for alone.
        for i in np.flatnonzero(~same).tolist():
            number = self.find(texts[i])
            numbers[known[i]] = -1 if number is None else number
        return numbers

    def _insert(
        self, texts: Sequence[str], hashes: Hashes, places: npt.NDArray[np.intp]
    ) -> Numbers:
        spare = min(len(self._spare), len(places))
        numbers = np.empty(len(places), np.int32)
        for i in range(spare):
            numbers[i] = self._spare.pop()
        numbers[spare:] = np.arange(self.bound, self.bound + len(places) - spare)
        self.bound += len(places) - spare
        joined, sizes = encode_many([texts[i] for i in places.tolist()])
        self._arena.put_many(numbers, joined, sizes)
        self._hash.insert_many(hashes[places], numbers)
        self._count += len(places)
        return numbers

    def _new_number(self) -> int:
        if self._spare:
            return self._spare.pop()
        self.bound += 1
        return self.bound - 1


def _hashes(texts: Sequence[str]) -> Hashes:
    return np.fromiter(map(hash, texts), np.int64, len(texts)).astype(np.uint32)
