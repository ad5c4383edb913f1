"""The last posts of a partition and their sources: a ring of columns, for one post or many."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from struct import Struct

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

WINDOW_RECORDS = 5000
WINDOW_MS = 60 * 60 * 1000
# Of the records: 200 posts of 20,000 ASCII letters, fewer where JSON escapes them or they take more
# bytes.  A restart scores all that are in the window again.
WINDOW_BYTES = 4 * 1024 * 1024
# A place has room for so many sources; what a post has beyond is kept beside the ring.
_COLUMNS = 4
_PADDING = (0,) * _COLUMNS
_ROW = Struct(f"{_COLUMNS}q")


class SourceBatch:
    """The sources of n posts.

    Attributes
    ----------
    names
        By post the names of its sources, in their order.
    hashes
        The hash of each name, never 0.
    """

    def __init__(self, names: Sequence[tuple[str, ...]]) -> None:
        self.names = names
        self.hashes = [tuple([hash(name) or 1 for name in of_post]) for of_post in names]

    @cached_property
    def columns(self) -> Integers:
        """The first hashes of each post: (n, 4) int64, 0 where there are fewer."""
        rows = [(of_post + _PADDING)[:_COLUMNS] for of_post in self.hashes]
        return np.array(rows, dtype=np.int64).reshape(-1, _COLUMNS)


class SourceWindow:
    """The last posts, oldest first: a ring of `WINDOW_RECORDS` places, 320 kB from the start.

    Attributes
    ----------
    at_ms
        The time of the last post: its record's timestamp, or the time of the post before if that is
        later, by less than `WINDOW_MS`.  A timestamp further back is one of a clock that was set.
    size
        The bytes of all posts so far, those that left too.
    """

    def __init__(self) -> None:
        self.at_ms = self.size = 0
        self._offsets = array("q", bytes(8 * WINDOW_RECORDS))
        self._at_ms = array("q", bytes(8 * WINDOW_RECORDS))
        # Of all posts up to this one.
        self._sizes = array("q", bytes(8 * WINDOW_RECORDS))
        self._values = array("d", bytes(8 * WINDOW_RECORDS))
        self._hashes = array("q", bytes(8 * WINDOW_RECORDS * _COLUMNS))
        # The same memory: plain Python is quicker with one post, numpy with many.
        self._offset_column = np.frombuffer(self._offsets, dtype=np.int64)
        self._at_ms_column = np.frombuffer(self._at_ms, dtype=np.int64)
        self._size_column = np.frombuffer(self._sizes, dtype=np.int64)
        self._value_column = np.frombuffer(self._values, dtype=np.float64)
        self._hash_columns = np.frombuffer(self._hashes, dtype=np.int64).reshape(-1, _COLUMNS)
        self._beyond: dict[int, tuple[int, ...]] = {}
        self._first = self._count = 0

    def leaving(self, offset: int, at_ms: int, size: int, coming: int) -> int:
        """How many posts leave: older by a bound of the window, or their place is taken.

        `offset` and `at_ms` are those of the last of the posts that are `coming`, `size` is that of
        all of them.
        """
        offset -= WINDOW_RECORDS
        at_ms = time_after(self.at_ms, at_ms) - WINDOW_MS
        size += self.size - WINDOW_BYTES
        leaving = max(0, self._count + coming - WINDOW_RECORDS)
        while leaving < self._count:
            place = (self._first + leaving) % WINDOW_RECORDS
            is_late = self._offsets[place] > offset and self._at_ms[place] > at_ms
            if is_late and self._sizes[place] > size:
                break
            leaving += 1
        return leaving

    def take_first(self) -> tuple[float, tuple[int, ...]]:
        """Take the oldest post out: its value, and the hashes of its sources."""
        place = self._first
        found = self._values[place], self._sources_at(place)
        self._beyond.pop(place, None)
        self._first, self._count = (place + 1) % WINDOW_RECORDS, self._count - 1
        return found

    def drop_first(self, count: int) -> None:
        """Drop the oldest posts."""
        if self._beyond:
            for place in self._places(count).tolist():
                self._beyond.pop(place, None)
        self._first = (self._first + count) % WINDOW_RECORDS
        self._count -= count

    def append(
        self, offset: int, at_ms: int, size: int, value: float, hashes: tuple[int, ...]
    ) -> None:
        """Take a post after the last; there is a place for it after those that leave are out."""
        place = (self._first + self._count) % WINDOW_RECORDS
        before_ms, self.at_ms = self.at_ms, time_after(self.at_ms, at_ms)
        if self.at_ms < before_ms:
            np.minimum(self._at_ms_column, self.at_ms, out=self._at_ms_column)
        self.size += size
        self._offsets[place], self._at_ms[place] = offset, self.at_ms
        self._sizes[place], self._values[place] = self.size, value
        _ROW.pack_into(self._hashes, _ROW.size * place, *(hashes + _PADDING)[:_COLUMNS])
        if len(hashes) > _COLUMNS:
            self._beyond[place] = hashes[_COLUMNS:]
        self._count += 1

    def extend(
        self,
        offsets: Integers,
        at_ms: Integers,
        sizes: Integers,
        values: Values,
        hashes: Sequence[tuple[int, ...]],
        hash_columns: Integers,
    ) -> None:
        """Take n posts after the last; as `append`, with the first hashes as (n, 4), too.

        No time may go back by `WINDOW_MS`.
        """
        end = self._first + self._count
        places = np.arange(end, end + len(values)) % WINDOW_RECORDS
        latest = np.maximum(np.maximum.accumulate(at_ms), self.at_ms)
        self._offset_column[places], self._at_ms_column[places] = offsets, latest
        self._size_column[places] = self.size + sizes.cumsum()
        self._value_column[places], self._hash_columns[places] = values, hash_columns
        for row, of_post in enumerate(hashes):
            if len(of_post) > _COLUMNS:
                self._beyond[int(places[row])] = of_post[_COLUMNS:]
        self.at_ms = int(latest[-1])
        self.size += int(sizes.sum())
        self._count += len(values)

    def count(self, source: int, oldest: int | None = None) -> int:
        """How many posts have a source, by its hash; of all or of the oldest."""
        places = self._places(oldest)
        found = int((self._hash_columns[places] == source).sum())
        if not self._beyond:
            return found
        return found + sum(source in self._beyond.get(place, ()) for place in places.tolist())

    def first_sources(self, source: int, value: float) -> Counter[int]:
        """Count by their first source the posts that have a source, and this value or more."""
        places = self._places(None)
        places = places[self._value_column[places] >= value]
        has_source = (self._hash_columns[places] == source).any(axis=1)
        if self._beyond:
            has_source |= [source in self._beyond.get(place, ()) for place in places.tolist()]
        return Counter(self._hash_columns[places[has_source], 0].tolist())

    def from_value(self, value: float, oldest: int | None = None) -> Iterator[tuple[int, ...]]:
        """The sources of each post with this value or more, of all or of the oldest."""
        places = self._places(oldest)
        for place in places[self._value_column[places] >= value].tolist():
            yield self._sources_at(place)

    def _sources_at(self, place: int) -> tuple[int, ...]:
        at = _COLUMNS * place
        known = tuple([source for source in self._hashes[at : at + _COLUMNS] if source])
        return known + self._beyond.get(place, ())

    def _places(self, oldest: int | None) -> Integers:
        count = self._count if oldest is None else oldest
        return np.arange(self._first, self._first + count) % WINDOW_RECORDS


def time_after(before_ms: int, at_ms: int) -> int:
    """Return the time of a post behind one of a time, by its record's timestamp."""
    return max(before_ms, at_ms) if before_ms - at_ms < WINDOW_MS else at_ms
