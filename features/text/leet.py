"""Reads digits and signs as letters where that makes a word: ``fr33`` gives ``free``."""

from __future__ import annotations

import re
from string import ascii_letters, digits

import numpy as np

from feedmill.features.text.byte_rows import Bytes, Indices, byte_set
from feedmill.features.text.code_points import CodePoints, Flags, ascii_flags, code_points, text_of
from feedmill.features.text.common_words import are_words

LEET = b"4@31!05$7"
_ADDRESS = re.compile(r"https?://\S+|www\.\S+")
_IS_LETTER = byte_set(ascii_letters.encode())
_IS_DIGIT = byte_set(digits.encode())
_IS_SIGN = byte_set(LEET)
_IS_IN_TOKEN = byte_set((ascii_letters + digits + "@$!").encode())
# What is neither a letter nor a sign that may be one.
_IS_OTHER = _IS_IN_TOKEN & ~_IS_LETTER & ~_IS_SIGN
_LETTER_FOR = np.arange(256, dtype=np.uint8)
_LETTER_FOR[list(LEET)] = list(b"aaeiiosst")
_BANG, _AT = ord("!"), ord("@")
_MIN_AFTER = 3


def undo_leet(text: str) -> str:
    """Replace signs by letters in tokens of letters, digits and signs; not in addresses."""
    codes = code_points(text)
    letters = _LETTER_FOR.take(np.minimum(codes, 255))
    starts, ends, cores = _tokens(text, codes)
    if not len(starts):
        return text
    made = _words_made(codes, letters, starts, ends, cores)
    is_changed = _marked(len(codes), starts, made)
    rest = (made == starts) & ~_has_three_digits(codes, starts, cores)
    is_changed |= _signs_among_letters(codes, starts[rest], cores[rest])
    is_changed &= letters != codes
    if not is_changed.any():
        return text
    return text_of(np.where(is_changed, letters, codes).astype(codes.dtype))


def _tokens(text: str, codes: CodePoints) -> tuple[Indices, Indices, Indices]:
    """Return start and end of the tokens that may be disguised, and where `!` at their ends begin.

    Each has letters, and a sign before that.
    """
    is_inside = ascii_flags(codes, _IS_IN_TOKEN)
    if _ADDRESS.search(text):
        spans = np.array([address.span() for address in _ADDRESS.finditer(text)])
        is_inside &= ~_marked(len(codes), spans[:, 0], spans[:, 1])
    edges = np.diff(is_inside, prepend=False, append=False).nonzero()[0]
    starts, ends = edges[0::2], edges[1::2]
    # The last character of each token that is no `!`: the tokens have one, if they have letters.
    places = np.where(codes != _BANG, np.arange(1, len(codes) + 1), 0)
    cores = np.maximum.accumulate(places).take(ends - 1) if len(ends) else ends
    has_letters = _counts(ascii_flags(codes, _IS_LETTER), starts, ends) > 0
    has_signs = _counts(ascii_flags(codes, _IS_SIGN), starts, np.maximum(cores, starts)) > 0
    is_any = has_letters & has_signs
    return starts[is_any], ends[is_any], cores[is_any]


def _words_made(
    codes: CodePoints, letters: Bytes, starts: Indices, ends: Indices, cores: Indices
) -> Indices:
    """Return up to where each token is a common word with letters for its signs; else its start."""
    others = ascii_flags(codes, _IS_OTHER)
    small = letters | np.uint8(0x20)
    is_name = (codes[starts] == _AT) & (
        _counts(ascii_flags(codes, _IS_LETTER), starts + 1, cores) == cores - starts - 1
    )
    named = is_name.nonzero()[0]
    is_name[named] = are_words(small, starts[named] + 1, cores[named])
    made = starts.copy()
    for last in (cores, ends):
        may = ((_counts(others, starts, last) == 0) & ~is_name).nonzero()[0]
        may = may[are_words(small, starts[may], last[may])]
        made[may] = last[may]
    return made


def _has_three_digits(codes: CodePoints, starts: Indices, ends: Indices) -> Flags:
    is_digit = ascii_flags(codes, _IS_DIGIT)
    begins = np.zeros(len(codes), dtype=np.bool_)
    begins[:-2] = is_digit[:-2] & is_digit[1:-1] & is_digit[2:]
    return _counts(begins, starts, np.maximum(ends - 2, starts)) > 0


def _signs_among_letters(codes: CodePoints, starts: Indices, ends: Indices) -> Flags:
    """Say which signs of tokens stand behind letters, or alone before at least `_MIN_AFTER`."""
    size = len(codes)
    is_inside = np.zeros(size + 1, dtype=np.bool_)
    is_inside[:size] = _marked(size, starts, ends)
    is_letter = ascii_flags(codes, _IS_LETTER)
    is_sign = ascii_flags(codes, _IS_SIGN) & is_inside[:size]
    edges = np.diff(is_sign, prepend=False, append=False).nonzero()[0]
    begins, behind = edges[0::2], edges[1::2]
    # Behind the last character, and before the first one, stands none.
    letter_at = np.append(is_letter, False) & is_inside
    before, after = letter_at[begins - 1], letter_at[behind]
    is_among = before & (after | ~is_inside[behind])
    token_ends = ends.take(starts.searchsorted(begins, side="right") - 1, mode="clip")
    opens = ~is_inside[begins - 1] & (behind - begins == 1) & (codes[begins] != _AT) & after
    opens &= _counts(is_letter, behind, np.maximum(token_ends, behind)) >= _MIN_AFTER
    is_one = is_among | opens
    return _marked(size, begins[is_one], behind[is_one])


def _counts(flags: Flags, starts: Indices, ends: Indices) -> Indices:
    """Count the flags from each start to before the end."""
    before = np.zeros(len(flags) + 1, dtype=np.int64)
    flags.cumsum(out=before[1:])
    counts: Indices = before.take(ends) - before.take(starts)
    return counts


def _marked(size: int, starts: Indices, ends: Indices) -> Flags:
    """Return flags that are set from each start to before its end; none of these overlap."""
    steps = np.zeros(size + 1, dtype=np.int8)
    steps[starts] += 1
    steps[ends] -= 1
    return steps[:-1].cumsum(dtype=np.int8).view(np.bool_)
