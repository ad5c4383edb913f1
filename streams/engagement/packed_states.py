"""What the engagement step knows of posts: a record of `counters`, and many of them in memory.

Counters are a fold over the partition's events in the order of their offsets.  `through` is the
last offset counted in, so that an event that is read again is skipped.

In memory the states of many posts are two columns, about 100 bytes a post.  A row holds what every
post has.  What was counted of a kind is an entry of its own, since most posts have few kinds; the
entries of a post are chained from its row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct, field

from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.features.counters import Counters
from feedmill.tables.mapped_column import MappedColumn, in_chunks

NO_OFFSET = -1
_Offset = Annotated[int, Meta(ge=NO_OFFSET, le=2**63 - 1)]
# A row: `through`, `post_offset`, `at_ms`, `prior`, and the link to its first entry.
_ROW = struct.Struct("<qqqdI")
_ROW_FIELDS = np.dtype(
    [
        ("through", "<i8"),
        ("post_offset", "<i8"),
        ("at_ms", "<i8"),
        ("prior", "<f8"),
        ("link", "<u4"),
    ]
)
# An entry: the link to the next one, the count, the decayed sum, the time of the last event.
_ENTRY = struct.Struct("<IIdq")
_ENTRY_FIELDS = np.dtype([("link", "<u4"), ("count", "<u4"), ("sum", "<f8"), ("at_ms", "<i8")])
_LINK = struct.Struct("<I")
# A link has the number of an entry, from 1 on, and in its lowest bits the kind; 0 ends a chain.
_KIND_BITS, _KIND_MASK = 4, 15
# The chain's last kind: the sum of all dwell times, in the place of a decayed sum.
_DWELL = _KIND_MASK
_MOST_COUNT = 2**32 - 1
_KINDS = len(ENGAGEMENT_KINDS)
# A row that holds no post is never too old.
_NEVER_MS = 2**63 - 1


class PostState(Struct, gc=False):
    """One post, as it stands in `counters`; `post_offset` is -1 before the post was read."""

    post_id: str
    post_offset: _Offset = NO_OFFSET
    prior: float = 0.0
    through: _Offset = NO_OFFSET
    at_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    counters: Counters = field(default_factory=Counters)


encode_state = msgspec.json.Encoder().encode
decode_state = msgspec.json.Decoder(PostState).decode


class PackedStates:
    """States by row number; whoever calls knows which row is which post's.

    Counts of a kind end at 2**32 - 1, and dwell times are exact up to 2**53 ms.
    """

    def __init__(self) -> None:
        self._rows: MappedColumn[np.void] = MappedColumn(_ROW_FIELDS)
        self._entries: MappedColumn[np.void] = MappedColumn(_ENTRY_FIELDS)
        self._next_entry, self._free_entry = 1, 0

    def load(self, row: int, post_id: str) -> PostState:
        """Return a copy of the state in a row."""
        through, post_offset, at_ms, prior, link = _ROW.unpack_from(
            self._rows.cells, row * _ROW.size
        )
        counts, sums, last_ms, dwell_ms = [0] * _KINDS, [0.0] * _KINDS, [0] * _KINDS, 0
        unpack, size, entries = _ENTRY.unpack_from, _ENTRY.size, self._entries.cells
        while link:
            kind = link & _KIND_MASK
            if kind == _DWELL:
                link, _, total, _ = unpack(entries, (link >> _KIND_BITS) * size)
                dwell_ms = int(total)
            else:
                link, counts[kind], sums[kind], last_ms[kind] = unpack(
                    entries, (link >> _KIND_BITS) * size
                )
        counters = Counters(counts, sums, last_ms, dwell_ms)
        return PostState(post_id, post_offset, prior, through, at_ms, counters)

    def progress(self, row: int) -> tuple[int, int]:
        """Return `through` and `post_offset` of a row."""
        through, post_offset, *_ = _ROW.unpack_from(self._rows.cells, row * _ROW.size)
        return through, post_offset

    def store(self, row: int, state: PostState, *, is_new: bool) -> None:
        """Keep a state; a new row holds nothing yet."""
        if is_new:
            self._grow_rows(row + 1)
            first = 0
        else:
            (first,) = _LINK.unpack_from(self._rows.cells, row * _ROW.size + _ROW.size - 4)
        first = self._store_counters(first, state.counters)
        _ROW.pack_into(
            self._rows.cells,
            row * _ROW.size,
            state.through,
            state.post_offset,
            state.at_ms,
            state.prior,
            first,
        )

    def free(self, row: int) -> None:
        """Forget a row's state."""
        at = row * _ROW.size
        *_, link = _ROW.unpack_from(self._rows.cells, at)
        _ROW.pack_into(self._rows.cells, at, 0, 0, _NEVER_MS, 0.0, 0)
        while link:
            following = self._link_of(link >> _KIND_BITS)
            self._release(link >> _KIND_BITS)
            link = following

    def older_than(self, cutoff_ms: int, first: int, end: int) -> npt.NDArray[np.int64]:
        """Return the rows in [first, end) whose `at_ms` is before a time."""
        return np.flatnonzero(self._rows.values["at_ms"][first:end] < cutoff_ms) + first

    # --- entries -------------------------------------------------------------------------------

    def _store_counters(self, first: int, counters: Counters) -> int:
        """Write the counters into a chain and return its first link."""
        counts, sums, last_ms = counters.counts, counters.sums, counters.at_ms
        unpack, pack, entries = _LINK.unpack_from, _ENTRY.pack_into, self._entries.cells
        link, kept, missing = first, 0, _KINDS - counts.count(0) + (counters.dwell_ms > 0)
        while link:
            at, kind = (link >> _KIND_BITS) * _ENTRY.size, link & _KIND_MASK
            (link,) = unpack(entries, at)
            if kind == _DWELL:
                pack(entries, at, link, 0, float(counters.dwell_ms), 0)
                missing -= counters.dwell_ms > 0
            else:
                count = counts[kind] if counts[kind] < _MOST_COUNT else _MOST_COUNT
                pack(entries, at, link, count, sums[kind], last_ms[kind])
                missing -= count > 0
            kept |= 1 << kind
        return self._add_entries(first, kept, counters) if missing else first

    def _add_entries(self, first: int, kept: int, counters: Counters) -> int:
        """Put an entry before a chain for each kind that has none; return the first link."""
        for kind in _kinds_of(counters):
            if kept >> kind & 1:
                continue
            entry = self._take_entry()
            if kind == _DWELL:
                values = 0, float(counters.dwell_ms), 0
            else:
                count = min(counters.counts[kind], _MOST_COUNT)
                values = count, counters.sums[kind], counters.at_ms[kind]
            _ENTRY.pack_into(self._entries.cells, entry * _ENTRY.size, first, *values)
            first = entry << _KIND_BITS | kind
        return first

    def _link_of(self, entry: int) -> int:
        link: int = _LINK.unpack_from(self._entries.cells, entry * _ENTRY.size)[0]
        return link

    def _take_entry(self) -> int:
        if self._free_entry:
            entry = self._free_entry
            self._free_entry = self._link_of(entry)
            return entry
        entry = self._next_entry
        self._next_entry += 1
        if entry >= len(self._entries):
            self._entries.grow(in_chunks(entry + 1))
        return entry

    def _release(self, entry: int) -> None:
        _LINK.pack_into(self._entries.cells, entry * _ENTRY.size, self._free_entry)
        self._free_entry = entry

    def _grow_rows(self, rows: int) -> None:
        if rows <= len(self._rows):
            return
        old = len(self._rows)
        self._rows.grow(in_chunks(rows))
        self._rows.values["at_ms"][old:] = _NEVER_MS


def _kinds_of(counters: Counters) -> Iterator[int]:
    for kind, count in enumerate(counters.counts):
        if count:
            yield kind
    if counters.dwell_ms:
        yield _DWELL
