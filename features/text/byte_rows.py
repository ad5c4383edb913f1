"""The bytes of several texts in one buffer, so that numpy works on all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

# Zero bytes after each row; the longest n-gram reaches four bytes beyond its first.
PADDING_BYTES = 5
_PADDING = b" " + b"\0" * PADDING_BYTES


def _fold_table() -> Bytes:
    """Map ASCII to lower case, all digits to ``0``, all controls but 0 to a blank."""
    table = np.arange(256, dtype=np.uint8)
    table[1:33] = 32
    table[127] = 32
    table[65:91] += 32
    table[48:58] = 48
    return table


def _word_table() -> npt.NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[128:] = True
    table[[*range(48, 58), *range(65, 91), *range(97, 123), 39, 95]] = True
    return table


# By byte value: what a byte counts as in an n-gram, and whether it is part of a word.
FOLDED = _fold_table()
IS_WORD = _word_table()


@dataclass(frozen=True, slots=True)
class ByteRows:
    """The UTF-8 bytes of several texts in one buffer, padded so that no n-gram crosses a row.

    Row i is ``buffer[starts[i]:ends[i]]``: a blank, the text, a blank.  `PADDING_BYTES` zero bytes
    follow it.
    """

    buffer: Bytes
    starts: Indices
    ends: Indices

    @classmethod
    def of(cls, encoded: Sequence[bytes]) -> ByteRows:
        """Lay out texts already encoded as UTF-8."""
        joined = b" " + (_PADDING + b" ").join(encoded) + _PADDING if encoded else b""
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)) + 2
        ends = np.cumsum(lengths + PADDING_BYTES) - PADDING_BYTES
        return cls(np.frombuffer(joined, dtype=np.uint8), ends - lengths, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def row_of_byte(self) -> Indices:
        """Return the row of each byte of the buffer; padding belongs to the row before it."""
        return np.repeat(np.arange(len(self)), self.ends - self.starts + PADDING_BYTES)


def encode(text: str) -> bytes:
    """Return a text in UTF-8; a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace")


def word_bounds(rows: ByteRows) -> tuple[Indices, Indices, Indices, Indices]:
    """Return where words are.

    Returns
    -------
    (words,) first byte and end of each word in the buffer, then (rows,) first word of each row and
    the one after its last.
    """
    is_inside = IS_WORD.take(rows.buffer)
    edges = np.flatnonzero(is_inside[1:] != is_inside[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]
    return starts, ends, np.searchsorted(starts, rows.starts), np.searchsorted(starts, rows.ends)
