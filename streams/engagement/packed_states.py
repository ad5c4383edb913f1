"""What the engagement step knows of posts: a record of `counters`, and many of them in memory.

Counters are a fold over the partition's events in the order of their offsets.  `through` is the
last offset counted in, so that an event that is read again is skipped.

In memory a state is a few bytes: what every post has, and an entry for each kind that was counted,
since most posts have few kinds.
"""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from feedmill.features.counters import COUNTED_KINDS, KIND_INDEX, Counters

NO_OFFSET = -1
_Offset = Annotated[int, Meta(ge=NO_OFFSET, le=2**63 - 1)]
_Hash = Annotated[int, Meta(ge=0, le=2**32 - 1)]
_Sketch = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
# `through`, `post_offset`, `at_ms`, `prior`, the sum of all dwell times, community, author, sketch,
# and how many further communities follow, each a hash.
_HEAD = struct.Struct("<qqqdqIIqB")
_HASH = struct.Struct("<I")
# Of a kind: its number, the count, the decayed sum, the time of the last event.
_ENTRY = struct.Struct("<BIdq")
_MOST_COUNT = 2**32 - 1
_KINDS = len(COUNTED_KINDS)
# In place of a kind: edits that no engagement followed yet, and the time of the last one.
_EDITS = 255
# What an edit leaves of the decayed counts where it changed the text much; of complaints all.
KEPT_BY_EDIT = 0.25
_KEPT_WHOLE = {KIND_INDEX[kind] for kind in ("hide", "report", "stranger hide", "stranger report")}


class PostState(Struct, gc=False):
    """One post, as it stands in `counters`; `post_offset` is -1 before the post was read.

    `community`, `author` and `further`, the other communities, are hashes of those that its first
    version had, 0 and empty before that came.  They stay when it is deleted.  `sketch` is that of
    its text.  Of `edits`, which changed the text much, the last was at `edited_ms`: the counts lose
    their part when an engagement of that time or later comes, in whatever order the two topics are
    read.
    """

    post_id: str
    post_offset: _Offset = NO_OFFSET
    prior: float = 0.0
    through: _Offset = NO_OFFSET
    at_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    counters: Counters = field(default_factory=Counters)
    community: _Hash = 0
    author: _Hash = 0
    sketch: _Sketch = 0
    edits: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    edited_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    # Left out of a record where there are none, as of most posts.
    further: Annotated[tuple[_Hash, ...], Meta(max_length=255)] | UnsetType = UNSET

    @property
    def communities(self) -> tuple[int, ...]:
        """The communities, the first one first; none where they are not known."""
        return (self.community, *(self.further or ())) if self.community else ()

    @property
    def kept_counters(self) -> Counters:
        """The counters as edits left them; not to be changed."""
        if not self.edits:
            return self.counters
        factor = KEPT_BY_EDIT**self.edits
        counters = self.counters
        sums = [
            total if kind in _KEPT_WHOLE else total * factor
            for kind, total in enumerate(counters.sums)
        ]
        return Counters([*counters.counts], sums, [*counters.at_ms], counters.dwell_ms)

    def settle_edits(self) -> None:
        """Take what edits cost off the counters."""
        self.counters, self.edits, self.edited_ms = self.kept_counters, 0, 0


encode_state = msgspec.json.Encoder().encode
decode_state = msgspec.json.Decoder(PostState).decode


def _further(packed: bytes, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", packed, _HEAD.size) if count else ()


class PackedStates:
    """States by row number; whoever calls knows which row is which post's.

    A row takes some 101 bytes, and 21 for each kind.  Counts of a kind end at 2**32 - 1.
    """

    def __init__(self) -> None:
        self._packed: list[bytes] = []  # empty where the row holds no post

    def load(self, row: int, post_id: str) -> PostState:
        """Return a copy of the state in a row."""
        packed = self._packed[row]
        through, post_offset, at_ms, prior, dwell_ms, *source, further = _HEAD.unpack_from(packed)
        counters = Counters([0] * _KINDS, [0.0] * _KINDS, [0] * _KINDS, dwell_ms)
        edits = edited_ms = 0
        entries = packed[_HEAD.size + further * _HASH.size :]
        for kind, count, total, last_ms in _ENTRY.iter_unpack(entries):
            if kind == _EDITS:
                edits, edited_ms = count, last_ms
                continue
            counters.counts[kind] = count
            counters.sums[kind] = total
            counters.at_ms[kind] = last_ms
        state = PostState(post_id, post_offset, prior, through, at_ms, counters, *source)
        state.edits, state.edited_ms = edits, edited_ms
        state.further = _further(packed, further) or UNSET
        return state

    def communities(self, row: int) -> tuple[int, ...]:
        """Return the communities of a row's post, none where they are not known; -1 is no row."""
        packed = self._packed[row] if row >= 0 else b""
        if not packed:
            return ()
        *_, community, _, _, further = _HEAD.unpack_from(packed)
        return (community, *_further(packed, further)) if community else ()

    def progress(self, row: int) -> tuple[int, int]:
        """Return `through` and `post_offset` of a row."""
        through, post_offset, *_ = _HEAD.unpack_from(self._packed[row])
        return through, post_offset

    def store(self, row: int, state: PostState) -> None:
        """Keep a state; rows come in their order, or again."""
        counters = state.counters
        sums, last_ms, further = counters.sums, counters.at_ms, state.communities[1:]
        head = _HEAD.pack(
            state.through,
            state.post_offset,
            state.at_ms,
            state.prior,
            counters.dwell_ms,
            state.community,
            state.author,
            state.sketch,
            len(further),
        )
        entries = [
            _ENTRY.pack(kind, min(count, _MOST_COUNT), sums[kind], last_ms[kind])
            for kind, count in enumerate(counters.counts)
            if count
        ]
        if state.edits:
            entries.append(_ENTRY.pack(_EDITS, state.edits, 0.0, state.edited_ms))
        if row == len(self._packed):
            self._packed.append(b"")
        self._packed[row] = b"".join((head, *map(_HASH.pack, further), *entries))

    def free(self, row: int) -> None:
        """Forget a row's state."""
        self._packed[row] = b""

    def older_than(self, cutoff_ms: int, first: int, end: int) -> list[int]:
        """Return the rows in [first, end) whose `at_ms` is before a time."""
        rows = enumerate(self._packed[first:end], first)
        return [row for row, packed in rows if packed and _HEAD.unpack_from(packed)[2] < cutoff_ms]
