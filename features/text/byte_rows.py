"""The bytes of several texts in one buffer, so that numpy works on all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_letters, digits

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

# Zero bytes after each row; the longest n-gram reaches four bytes beyond its first.
PADDING_BYTES = 5
_PADDING = b" " + b"\0" * PADDING_BYTES
_FIRST_ROW: Indices = np.zeros(1, dtype=np.int64)
_FIRST_ROW.flags.writeable = False


_EVERY_BYTE = bytes(range(256))
_CONTROLS = b"\x7f" + _EVERY_BYTE[1 : ord(" ")]


def byte_set(members: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Return which values of a byte are members: (256,)."""
    return np.isin(np.arange(256), list(members))


# What a byte counts as in an n-gram: letters are small, digits ``0``, controls but 0 blanks.
_DIGITS_AND_CONTROLS = bytes.maketrans(
    digits.encode() + _CONTROLS, b"0" * len(digits) + b" " * len(_CONTROLS)
)
FOLDED: Bytes = np.frombuffer(_EVERY_BYTE.lower().translate(_DIGITS_AND_CONTROLS), np.uint8)
# All beyond ASCII is part of a word.
IS_WORD = byte_set((ascii_letters + digits + "'_").encode() + _EVERY_BYTE[128:])


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
        if len(encoded) == 1:
            joined = b" " + encoded[0] + _PADDING
            ends = np.array([len(joined) - PADDING_BYTES])
            return cls(np.frombuffer(joined, dtype=np.uint8), _FIRST_ROW, ends)
        joined = b" " + (_PADDING + b" ").join(encoded) + _PADDING if encoded else b""
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)) + 2
        ends = (lengths + PADDING_BYTES).cumsum() - PADDING_BYTES
        return cls(np.frombuffer(joined, dtype=np.uint8), ends - lengths, ends)

    def __len__(self) -> int:
        return len(self.starts)


def encode(text: str) -> bytes:
    """Return a text in UTF-8; a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace")


def four_bytes(buffer: Bytes) -> npt.NDArray[np.uint32]:
    """Return the four bytes from each place on, the first one lowest: (bytes - 3,)."""
    return np.ndarray(max(len(buffer) - 3, 0), "<u4", buffer, strides=(1,)).copy()


def word_bounds(rows: ByteRows) -> tuple[Indices, Indices, Indices, Indices]:
    """Return where words are.

    Returns
    -------
    (words,) first byte and end of each word in the buffer, then (rows,) first word of each row and
    the one after its last.
    """
    is_inside = IS_WORD.take(rows.buffer)
    edges = (is_inside[1:] != is_inside[:-1]).nonzero()[0] + 1
    if len(rows) == 1:
        return edges[0::2], edges[1::2], _FIRST_ROW, np.array([len(edges) >> 1])
    first, last = edges.searchsorted(rows.starts) >> 1, edges.searchsorted(rows.ends) >> 1
    return edges[0::2], edges[1::2], first, last
