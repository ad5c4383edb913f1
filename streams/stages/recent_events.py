"""Which event ids of a partition repeat within ten minutes of record time, 35 bytes an event."""

from __future__ import annotations

import numpy as np

from feedmill.events.engagement import Engagement
from feedmill.rankers.combiner.extendible_hash import HASH_BITS, ExtendibleHash
from feedmill.rankers.combiner.mapped_column import MappedColumn, in_chunks

DEDUPLICATED_MS = 600_000

_HASH = (1 << HASH_BITS) - 1
_KEY = (1 << 64) - 1
# A key of an event that was noted again later.
_SUPERSEDED = 0
_NONE = -1
# For each event that comes so many old ones go, so that a gap in the log makes no call long.
_DROPPED = 8


class RecentEvents:
    """Event ids of the last ten minutes of record time.

    An event repeats if the same id of the same post stands in the ten minutes before it; that
    follows from those ten minutes alone, so reading them again restores it exactly.  Ids are known
    by 64 bits of hash: among a million of them a new one counts as repeated once in 10**13 times.
    """

    def __init__(self) -> None:
        self._keys = MappedColumn(np.uint64)
        self._at_ms = MappedColumn(np.int64)
        self._next = MappedColumn(np.int32)  # in the order of the log; of free numbers any
        self._first = self._last = self._free = _NONE
        self._bound = 0
        self._hash = ExtendibleHash()
        self._count = 0

    def __len__(self) -> int:
        """How many ids are known."""
        return self._count

    @property
    def used_bytes(self) -> int:
        """Bytes of the columns and of the hash table."""
        columns = self._keys.used_bytes + self._at_ms.used_bytes + self._next.used_bytes
        return columns + self._hash.used_bytes

    def repeats(self, event: Engagement, at_ms: int) -> bool:
        """Note an event by its record's timestamp; whether it repeats an earlier one."""
        if event.event_id is None:
            return False
        self._drop_before(at_ms - DEDUPLICATED_MS)
        key = (hash((event.post_id, event.event_id)) & _KEY) or 1
        before = self._find(key)
        repeats = before != _NONE and at_ms - self._at_ms.cells[before] <= DEDUPLICATED_MS
        if before != _NONE:
            self._forget(before)
        self._append(key, at_ms)
        return repeats

    def _find(self, key: int) -> int:
        keys = self._keys.cells
        for number in self._hash.find(key & _HASH):
            if keys[number] == key:
                return number
        return _NONE

    def _append(self, key: int, at_ms: int) -> None:
        number = self._take_number()
        self._keys.cells[number], self._at_ms.cells[number] = key, at_ms
        self._next.cells[number] = _NONE
        if self._last == _NONE:
            self._first = number
        else:
            self._next.cells[self._last] = number
        self._last = number
        self._hash.insert(key & _HASH, number)
        self._count += 1

    def _forget(self, number: int) -> None:
        """Have an event not found any more; its number stays in the order."""
        self._hash.remove(self._keys.cells[number] & _HASH, number)
        self._keys.cells[number] = _SUPERSEDED
        self._count -= 1

    def _drop_before(self, cutoff_ms: int) -> None:
        for _ in range(_DROPPED):
            number = self._first
            if number == _NONE or self._at_ms.cells[number] >= cutoff_ms:
                return
            if self._keys.cells[number] != _SUPERSEDED:
                self._forget(number)
            self._first = self._next.cells[number]
            if self._first == _NONE:
                self._last = _NONE
            self._next.cells[number] = self._free
            self._free = number

    def _take_number(self) -> int:
        number = self._free
        if number != _NONE:
            self._free = self._next.cells[number]
            return number
        number = self._bound
        self._bound += 1
        if number >= len(self._keys):
            for column in (self._keys, self._at_ms, self._next):
                column.grow(in_chunks(number + 1))
        return number
