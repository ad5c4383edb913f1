"""The shape of a text: how it is written, not what it says.

Counts of byte classes and of a few patterns, over a whole batch at once: no loop over texts.  A
short text by itself is counted by methods of `bytes`: so many calls of numpy take several times as
long.  Columns named ``log_…`` are counts as ``log1p``, those named ``share_…`` fractions of the
bytes or words of the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase, digits

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import (
    IS_WORD,
    PADDING_BYTES,
    ByteRows,
    Bytes,
    Indices,
    TextChunk,
    four_bytes,
)
from feedmill.features.text.ngrams import TextBatch

Mask = npt.NDArray[np.bool_]
Fours = npt.NDArray[np.uint32]

# Classes of bytes, in the order of their columns: those that are fractions, and those counted.
_FRACTIONS: dict[str, bytes] = {
    "upper": ascii_uppercase.encode(),
    "digit": digits.encode(),
    "stop": b".",
    "comma": b",;",
    "quote": b"\"'`",
    "dash": b"-_",
    "bracket": b"()[]{}",
    "line": b"\n",
    "lead2": bytes(range(0xC0, 0xE0)),
    "lead3": bytes(range(0xE0, 0xF0)),
}
_LOGS: dict[str, bytes] = {
    "exclamation": b"!",
    "question": b"?",
    "money": b"$%",
    "slash": b"/\\",
    "colon": b":",
    "angle": b"<>",
    "plus": b"+*=&~^|",
    "hash": b"#",
    "at": b"@",
    "lead4": bytes(range(0xF0, 0x100)),
}
# In the order of the columns; the first are the bytes that none of them counts.
_CLASSES: dict[str, bytes] = {"other": b"", **_FRACTIONS, **_LOGS}
_CLASS_NAMES = tuple(_CLASSES)
_UPPER, _DIGIT = _CLASS_NAMES.index("upper"), _CLASS_NAMES.index("digit")


_CLASS_OF: Indices = np.zeros(256, dtype=np.int64)
for _index, _members in enumerate(_CLASSES.values()):
    _CLASS_OF[list(_members)] = _index
_UPPER_AND_DIGIT = np.array([[_UPPER], [_DIGIT]])
_TOP_LEVEL_DOMAINS = (
    b"com net org info biz edu gov io ly tv co uk us ca au de fr br ru pl nl es gl gd fm me be eu"
    b" app"
)
_WORD_BYTE = rb"[A-Za-z0-9'_\x80-\xff]"
# The dot first: most are ruled out by what follows, and a text without dots at once.
_DOMAIN = re.compile(
    rb"\.(?=[A-Za-z])(?<=%b\.)(?=(?i:%b)(?!%b))"
    % (_WORD_BYTE, b"|".join(_TOP_LEVEL_DOMAINS.split()), _WORD_BYTE)
)
# As four bytes, those behind the last letter 0.
_LONGEST_DOMAIN = 4
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(_LONGEST_DOMAIN + 1)], np.uint32)
_TOP_LEVEL_LETTERS = np.sort(np.array(_TOP_LEVEL_DOMAINS.split(), "S4").view("<u4"))
_HTTP, _WWW, _DOT_COM = np.frombuffer(b"httpwww..com", dtype="<u4")
# Longer texts are quicker by numpy.
_SHORT_BYTES = 2_000
# For a single text: words by the kinds of their bytes, and letters as `_patterns` lowers them.
_KINDS = np.select([_CLASS_OF == _UPPER, _CLASS_OF == _DIGIT, IS_WORD], [*b"A0a"], ord(" "))
_KINDS_OF_BYTES, _CLASS_BYTES = bytes(_KINDS.tolist()), bytes(_CLASS_OF.tolist())
_LOWERED = bytes(byte | 0x20 for byte in range(256))
_REPEAT = re.compile(rb"([!-\xff])\1\1+")
_TAG = re.compile(rb"[@#](?<!%b[@#])(?=%b)" % (_WORD_BYTE, _WORD_BYTE))
_PATTERNS = ("repeat", "link", "dot_com", "mention", "hashtag", "list_number")
_WORDS = ("caps_word", "long_number", "number", "letter_word", "long_word", "domain")

SHAPE_COLUMNS: tuple[str, ...] = (
    "log_bytes",
    "log_words",
    "word_length",
    "longest_word",
    *(f"share_{name}" for name in _FRACTIONS),
    *(f"log_{name}" for name in _LOGS),
    *(f"log_{name}" for name in _PATTERNS),
    *(f"log_{name}" for name in _WORDS),
    "share_caps_word",
    "starts_upper",
)


def shape_matrix(batch: TextBatch) -> npt.NDArray[np.float32]:
    """Return `SHAPE_COLUMNS` of each text: (rows, columns) float32, finite.

    A batch computes them once, however many models read them.
    """
    if batch.shape is None:
        none = np.zeros((0, len(SHAPE_COLUMNS)), dtype=np.float32)
        batch.shape = np.concatenate([none, *map(_shape, batch.chunks)])
    return batch.shape


def _shape(chunk: TextChunk) -> npt.NDArray[np.float32]:
    rows = chunk.raw
    if len(rows) == 1 and len(rows.buffer) <= _SHORT_BYTES:
        return _shape_of_one(rows.buffer.tobytes())
    class_of = _CLASS_OF.take(rows.buffer)
    lowered = four_bytes(rows.buffer) | np.uint32(0x20202020)
    class_of_first = class_of.take(rows.starts + 1)
    size = np.maximum(rows.ends - rows.starts - 2, 1)
    starts, ends, first, last = chunk.raw_words
    words = last - first
    # `reduceat` gives the next word's length where a row has none, and refuses a start at the end.
    lengths = np.zeros(len(starts) + 1, dtype=np.int64)
    np.subtract(ends, starts, out=lengths[:-1])
    word_bytes, longest = (by.reduceat(lengths, first) * (words > 0) for by in (np.add, np.maximum))
    per_word = np.maximum(words, 1)
    # In the order of the columns: one call of numpy for all of a kind.
    counts = np.concatenate(
        (
            _class_counts(rows, class_of),
            _counts(_patterns(rows.buffer, lowered), rows.starts),
            [class_of_first == _DIGIT],
            _counts(_words(rows.buffer, lowered, class_of, starts, ends), first),
        )
    )
    fractions = len(_FRACTIONS)
    columns = np.empty((len(SHAPE_COLUMNS), len(rows)))
    columns[0], columns[1], columns[3] = np.log1p((size, words, longest))
    columns[2] = word_bytes / per_word
    np.divide(counts[:fractions], size, out=columns[4 : 4 + fractions])
    np.log1p(counts[fractions:], out=columns[4 + fractions : -2])
    columns[-2] = counts[-len(_WORDS)] / per_word
    columns[-1] = class_of_first == _UPPER
    return columns.T.astype(np.float32, order="C")


def _shape_of_one(text: bytes) -> npt.NDArray[np.float32]:
    """Return what `_shape` does for a chunk of one text, given its padded bytes."""
    size, first = max(len(text) - PADDING_BYTES - 2, 1), text[1:2]
    kinds = text.translate(_KINDS_OF_BYTES).split()
    lengths = [*map(len, kinds)]
    words, longest = max(len(kinds), 1), max(lengths, default=0)
    capitals = sum(len(kind) > 1 and kind.isalpha() for kind in kinds if kind.isupper())
    classes = [*map(text.translate(_CLASS_BYTES).count, range(1, len(_CLASSES)))]
    fractions, lowered, tags = len(_FRACTIONS), text.translate(_LOWERED), _TAG.findall(text)
    counts = (
        *(size, len(kinds), longest),
        *classes[fractions:],
        sum(len(run[0]) - 2 for run in _REPEAT.finditer(text)),
        lowered.count(b"http") + lowered.count(b"www."),
        lowered.count(b".com"),
        *map(tags.count, (b"@", b"#")),
        first.isdigit(),
        capitals,
        sum(kind.count(b"0") >= 7 for kind in kinds) if classes[_DIGIT - 1] >= 7 else 0,
        sum(map(bytes.isdigit, kinds)),
        lengths.count(1) - kinds.count(b"0"),
        sum(length > 14 for length in lengths) if longest > 14 else 0,
        len(_DOMAIN.findall(text)),
    )
    log_size, log_words, log_longest, *logs = np.log1p(counts).tolist()
    ratios = [count / size for count in classes[:fractions]]
    row = (log_size, log_words, sum(lengths) / words, log_longest, *ratios, *logs)
    return np.array([(*row, capitals / words, first.isupper())], dtype=np.float32)


def _class_counts(rows: ByteRows, class_of: Indices) -> Indices:
    """Count the bytes of each class but the first in each row: (classes - 1, rows)."""
    width = len(_CLASSES)
    cells = np.arange(0, len(rows) * width, width).repeat(rows.ends - rows.starts + PADDING_BYTES)
    cells += class_of
    return np.bincount(cells, minlength=len(rows) * width).reshape(-1, width).T[1:]


def _counts(masks: Sequence[Mask], starts: Indices) -> Indices:
    """Count the true values of each mask in each row: (masks, rows).

    Masks have the same length; a row begins at its start, and ends where the next one begins.
    """
    places = np.concatenate(masks).nonzero()[0]
    size, cells = len(masks[0]), len(masks) * len(starts)
    before = places.searchsorted(np.arange(len(masks) + 1)[:, None] * size + starts).ravel()
    return (before[1 : cells + 1] - before[:cells]).reshape(len(masks), -1)


def _words(
    buffer: Bytes, lowered: Fours, class_of: Indices, starts: Indices, ends: Indices
) -> list[Mask]:
    """Say which words are of each of `_WORDS`: (words,) each."""
    lengths, before = ends - starts, starts - 1
    running = (class_of == _UPPER_AND_DIGIT).cumsum(axis=1, dtype=np.int32)
    upper, digits = running.take(ends - 1, axis=1) - running.take(before, axis=1)
    return [
        (upper == lengths) & (lengths > 1),
        digits >= 7,
        digits == lengths,
        (lengths == 1) & (digits == 0),
        lengths > 14,
        _is_top_level(buffer, lowered, starts, lengths),
    ]


def _is_top_level(buffer: Bytes, lowered: Fours, starts: Indices, lengths: Indices) -> Mask:
    """Say which words are the top-level domain of an address, ``com`` in ``a.com``: (words,)."""
    is_top_level: Mask = (buffer.take(starts - 1) == ord(".")) & (lengths <= _LONGEST_DOMAIN)
    maybe = is_top_level.nonzero()[0]
    at = starts[maybe]
    letters = lowered.take(at) & _FIRST_BYTES.take(lengths[maybe])
    found = _TOP_LEVEL_LETTERS.take(_TOP_LEVEL_LETTERS.searchsorted(letters), mode="clip")
    is_top_level[maybe] = IS_WORD.take(buffer.take(at - 2)) & (found == letters)
    return is_top_level


def _patterns(buffer: Bytes, lowered: Fours) -> list[Mask]:
    """Say where each of `_PATTERNS` but the last begins: (bytes - 3,) each."""
    is_word = IS_WORD.take(buffer)
    opens = is_word[2:-1] > is_word[:-3]
    here, middle, after = buffer[:-3], buffer[1:-2], buffer[2:-1]
    return [
        (after == middle) & (middle == here) & (after > ord(" ")),
        (lowered == _HTTP) | (lowered == _WWW),
        lowered == _DOT_COM,
        opens & (middle == ord("@")),
        opens & (middle == ord("#")),
    ]
