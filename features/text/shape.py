"""The shape of a text: how it is written, not what it says.

Counts of byte classes and of a few patterns, over a whole batch at once: no regular expression, no
loop over texts.  Columns named ``log_…`` are counts as ``log1p``, those named ``share_…`` fractions
of the bytes or words of the text.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase, digits

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import IS_WORD, ByteRows, Indices, word_bounds
from feedmill.features.text.ngrams import TextBatch

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
_CLASSES: dict[str, bytes] = {
    "blank": b" \t\r\x0b\x0c",
    "lower": ascii_lowercase.encode(),
    "tail": bytes(range(0x80, 0xC0)),
    "other": b"",
    **_FRACTIONS,
    **_LOGS,
}
_CLASS_NAMES = tuple(_CLASSES)
_OTHER = _CLASS_NAMES.index("other")


def _class_table() -> npt.NDArray[np.int64]:
    table = np.full(256, _OTHER, dtype=np.int64)
    for index, members in enumerate(_CLASSES.values()):
        table[list(members)] = index
    return table


_CLASS_OF = _class_table()
_TOP_LEVEL_DOMAINS = (
    b"com net org info biz edu gov io ly tv co uk us ca au de fr br ru pl nl es gl gd fm me be eu"
    b" app"
)
_LONGEST_TOP_LEVEL = 4


def _packed(word: bytes) -> np.uint32:
    """Return up to four bytes as the number that they make in a little-endian buffer."""
    return np.uint32(int.from_bytes(word, "little"))


_PACKED_TOP_LEVELS = np.array([_packed(name) for name in _TOP_LEVEL_DOMAINS.split()])
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


def _places(*names: str) -> list[int]:
    return [SHAPE_COLUMNS.index(name) for name in names]


_LOG_PLACES = _places(
    *("log_bytes", "log_words", "longest_word"),
    *(f"log_{name}" for name in (*_LOGS, *_PATTERNS, *_WORDS)),
)
_FRACTION_PLACES = _places(*(f"share_{name}" for name in _FRACTIONS))
_WORD_FRACTION_PLACES = _places("word_length", "share_caps_word")


def shape_matrix(batch: TextBatch) -> npt.NDArray[np.float32]:
    """Return `SHAPE_COLUMNS` of each text: (rows, columns) float32, finite.

    A batch computes them once, however many models read them.
    """
    return batch.matrix("shape", _shapes)


def _shapes(batch: TextBatch) -> npt.NDArray[np.float32]:
    parts = [_shape(chunk.raw) for chunk in batch.chunks]
    return np.concatenate(parts) if parts else np.zeros((0, len(SHAPE_COLUMNS)), dtype=np.float32)


def _shape(rows: ByteRows) -> npt.NDArray[np.float32]:
    owner = rows.row_of_byte()
    class_of = _CLASS_OF.take(rows.buffer)
    classes = dict(zip(_CLASS_NAMES, _class_counts(rows, owner, class_of).T, strict=True))
    size = np.maximum(rows.ends - rows.starts - 2, 1)
    words = _word_counts(rows, class_of)
    patterns = _pattern_counts(rows, owner)
    # One call of numpy for all columns of a kind: on a single text its calls are what costs.
    logs = (
        *(size, words["word"], words["longest"]),
        *(classes[name] for name in _LOGS),
        *(patterns[name] for name in _PATTERNS),
        *(words[name] for name in _WORDS),
    )
    word_fractions = np.array([words["word_bytes"], words["caps_word"]])
    columns = np.empty((len(SHAPE_COLUMNS), len(rows)))
    columns[_LOG_PLACES] = np.log1p(np.array(logs, dtype=np.float64))
    columns[_FRACTION_PLACES] = np.array([classes[name] for name in _FRACTIONS]) / size
    columns[_WORD_FRACTION_PLACES] = word_fractions / np.maximum(words["word"], 1)
    columns[-1] = _CLASS_OF[rows.buffer[rows.starts + 1]] == _CLASS_NAMES.index("upper")
    return columns.T.astype(np.float32, order="C")


def _class_counts(rows: ByteRows, owner: Indices, class_of: Indices) -> Indices:
    width = len(_CLASS_NAMES)
    flat = owner * width
    flat += class_of
    counts = np.bincount(flat, minlength=len(rows) * width).reshape(-1, width)
    counts[:, _CLASS_NAMES.index("blank")] -= 2  # the blanks that `ByteRows` puts around a text
    return counts


def _word_counts(rows: ByteRows, class_of: Indices) -> dict[str, Indices]:
    starts, ends, first, last = word_bounds(rows)
    lengths = ends - starts
    upper = _count_inside(class_of == _CLASS_NAMES.index("upper"), starts, ends)
    digits = _count_inside(class_of == _CLASS_NAMES.index("digit"), starts, ends)
    owner = np.repeat(np.arange(len(rows)), last - first)
    longest = np.zeros(len(rows), dtype=np.int64)
    np.maximum.at(longest, owner, lengths)

    def per_row(mask: npt.NDArray[np.bool_]) -> Indices:
        return np.bincount(owner[mask], minlength=len(rows))

    return {
        "word": last - first,
        "word_bytes": np.bincount(owner, weights=lengths, minlength=len(rows)).astype(np.int64),
        "longest": longest,
        "caps_word": per_row((upper == lengths) & (lengths > 1)),
        "long_number": per_row(digits >= 7),
        "number": per_row(digits == lengths),
        "letter_word": per_row((lengths == 1) & (digits == 0)),
        "long_word": per_row(lengths > 14),
        "domain": per_row(_is_top_level(rows, starts, ends)),
    }


def _is_top_level(rows: ByteRows, starts: Indices, ends: Indices) -> npt.NDArray[np.bool_]:
    """Say which words are the top-level domain of an address, ``com`` in ``a.com``: (words,)."""
    buffer = rows.buffer
    after_dot = (buffer[starts - 1] == ord(".")) & IS_WORD[buffer[starts - 2]]
    is_top_level = np.zeros(len(starts), dtype=np.bool_)
    maybe = np.flatnonzero(after_dot & (ends - starts <= _LONGEST_TOP_LEVEL))
    if not len(maybe):
        return is_top_level
    place = np.arange(_LONGEST_TOP_LEVEL)
    inside = place < (ends - starts)[maybe, None]
    # (maybe, 4): a word's letters in lower case, then zeros.  Rows are padded beyond their words.
    letters = np.where(inside, buffer[starts[maybe, None] + place] | 0x20, 0).astype(np.uint32)
    is_top_level[maybe] = np.isin(letters @ (1 << 8 * place).astype(np.uint32), _PACKED_TOP_LEVELS)
    return is_top_level


def _count_inside(mask: npt.NDArray[np.bool_], starts: Indices, ends: Indices) -> Indices:
    """Count the true values of each segment ``mask[start:end]``."""
    prefix = np.zeros(len(mask) + 1, dtype=np.int32)
    np.cumsum(mask, out=prefix[1:])
    return prefix[ends] - prefix[starts]


def _pattern_counts(rows: ByteRows, owner: Indices) -> dict[str, Indices]:
    buffer = rows.buffer
    wide = buffer.astype(np.uint32)
    four = wide[:-3] | wide[1:-2] << 8 | wide[2:-1] << 16 | wide[3:] << 24
    lowered = four | np.uint32(0x20202020)
    word = IS_WORD.take(buffer)
    opens = ~word[:-2] & word[2:]
    middle = buffer[1:-1]

    def per_row(mask: npt.NDArray[np.bool_]) -> Indices:
        return np.bincount(owner[np.flatnonzero(mask)], minlength=len(rows))

    same = (buffer[2:] == middle) & (middle == buffer[:-2]) & (buffer[2:] > 32)
    links = (lowered == _packed(b"http")) | (lowered == _packed(b"www."))
    first = buffer[rows.starts + 1]
    return {
        "repeat": per_row(same),
        "link": per_row(links),
        "dot_com": per_row(lowered == _packed(b".com")),
        "mention": per_row(opens & (middle == ord("@"))),
        "hashtag": per_row(opens & (middle == ord("#"))),
        "list_number": (_CLASS_OF[first] == _CLASS_NAMES.index("digit")).astype(np.int64),
    }
