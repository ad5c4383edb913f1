"""Whether a user did the same with a post before on the same day: a user counts once.

Users are known of the present and the former generation, each so many offsets of the partition, so
that memory and the log that restores it are bounded.  What is known follows from these offsets
alone: reading them again restores it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from feedmill.events.engagement import Engagement
from feedmill.rankers.combiner.extendible_hash import ExtendibleHash
from feedmill.streams.kafka.batches import Record
from feedmill.streams.kafka.topics import DAY_MS

# A key has 63 bits: of a million of them a new one counts as known once in 10**13 times.
_NUMBER_BITS = 31
_NUMBER = (1 << _NUMBER_BITS) - 1
_KEY = (1 << 63) - 1
# So few events are looked up one by one.
_FEW = 16


class UserFilter:
    """Knows post, kind, user and day (of record time, UTC) of at least the last `window` offsets.

    And of twice as many at most; 16 to 32 bytes each.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._generation = -1
        self._present, self._former = ExtendibleHash(), ExtendibleHash()

    @property
    def used_bytes(self) -> int:
        """Bytes of both hash tables."""
        return self._present.used_bytes + self._former.used_bytes

    def first_offset(self, offset: int) -> int:
        """Return the offset from which on the log decides about events from `offset` on."""
        return max(0, offset // self._window - 1) * self._window

    def repeats(self, events: Sequence[tuple[Record, Engagement]]) -> list[bool]:
        """Note events in the order of their offsets; say of each whether its user did it before."""
        found: list[bool] = []
        for generation, group in groupby(events, lambda one: one[0].offset // self._window):
            self._turn_to(generation)
            keys = [
                hash((event.post_id, event.kind, event.user_id, record.timestamp // DAY_MS)) & _KEY
                for record, event in group
            ]
            found += self._note_few(keys) if len(keys) < _FEW else self._note_many(keys)
        return found

    def _turn_to(self, generation: int) -> None:
        if generation == self._generation:
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
