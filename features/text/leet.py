"""Reads digits and signs as letters where that makes a word: ``fr33`` gives ``free``."""

from __future__ import annotations

import re
from string import ascii_letters, digits

import numpy as np

from feedmill.features.text.byte_rows import Bytes, Indices, byte_set
from feedmill.features.text.code_points import CodePoints, Flags, ascii_flags, code_points, text_of
from feedmill.features.text.common_words import are_words, is_word

LEET = b"4@31!05$7"
_ADDRESS = re.compile(r"https?://\S+|www\.\S+")
_INSIDE = "A-Za-z0-9@$!"
# A token that has letters, and a sign that is no `!` at its end.  It is tried from its start alone,
# and all is possessive, so that a long one takes linear time.
_TOKEN = re.compile(
    f"(?<![{_INSIDE}])(?=[0-9@$!]*+[A-Za-z])"
    f"(?=[A-Za-z2689]*+(?:!++[A-Za-z0-9@$]|[@$013457]))[{_INSIDE}]++"
)
_SIGNS = re.compile(f"[{LEET.decode()}]+")
_THREE_DIGITS = re.compile("[0-9]{3}")
_LETTERS_FOR = str.maketrans(LEET.decode(), "aaeiiosst")
# Of all tokens: so few are read one by one in less time than numpy takes.
_FEW_CHARACTERS = 256
_IS_LETTER = byte_set(ascii_letters.encode())
_IS_DIGIT = byte_set(digits.encode())
_IS_SIGN = byte_set(LEET)
# What is neither a letter nor a sign that may be one.
_IS_OTHER = byte_set((ascii_letters + digits + "@$!").encode()) & ~_IS_LETTER & ~_IS_SIGN
_LETTER_FOR = np.arange(256, dtype=np.uint8)
_LETTER_FOR[list(LEET)] = list(b"aaeiiosst")
_BANG, _AT = ord("!"), ord("@")
_MIN_AFTER = 3


def undo_leet(text: str) -> str:
    """Replace signs by letters in tokens of letters, digits and signs; not in addresses."""
    if not _SIGNS.search(text):
        return text
    without_addresses = _ADDRESS.sub(lambda address: " " * len(address[0]), text)
    spans = [token.span() for token in _TOKEN.finditer(without_addresses)]
    if sum(end - start for start, end in spans) > _FEW_CHARACTERS:
        return _undone_at(text, np.array(spans))
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += (text[at:start], _undone(text[start:end]))
        at = end
    return "".join([*parts, text[at:]])


def _undone(token: str) -> str:
    core = token.rstrip("!")
    is_name = core[0] == "@" and is_word(core[1:])
    for guess in () if is_name else (token, core):
        word = guess.translate(_LETTERS_FOR)
        if word.isalpha() and is_word(word):
            return word + token[len(word) :]
    if _THREE_DIGITS.search(core):
        return token
    return _SIGNS.sub(_letters_for, core) + token[len(core) :]


def _letters_for(signs: re.Match[str]) -> str:
    """Read signs behind letters as letters, or a single one before at least `_MIN_AFTER`."""
    found = signs[0]
    before, after = signs.string[: signs.start()], signs.string[signs.end() :]
    is_among = before[-1:].isalpha() and (not after or after[0].isalpha())
    opens = not before and len(found) == 1 and found != "@" and after[:1].isalpha()
    if is_among or (opens and sum(map(str.isalpha, after)) >= _MIN_AFTER):
        return found.translate(_LETTERS_FOR)
    return found


def _undone_at(text: str, spans: Indices) -> str:
    """Return what `undo_leet` does of many tokens, (tokens, 2) places: all at the same time."""
    codes = code_points(text + " ").copy()
    # Of all else one character behind each token is looked at, which is not among its own.
    sizes = spans[:, 1] - spans[:, 0]
    ends = (sizes + 1).cumsum() - 1
    starts = ends - sizes
    places = np.arange(ends[-1] + 1) + (spans[:, 0] - starts).repeat(sizes + 1)
    codes[places] = _undone_tokens(codes.take(places), starts, ends)
    return text_of(codes)[:-1]


def _undone_tokens(codes: CodePoints, starts: Indices, ends: Indices) -> CodePoints:
    letters = _LETTER_FOR.take(np.minimum(codes, 255))
    # The last character of each token that is no `!`.
    places = np.where(codes != _BANG, np.arange(1, len(codes) + 1), 0)
    cores = np.maximum.accumulate(places).take(ends - 1)
    made = _words_made(codes, letters, starts, ends, cores)
    is_changed = _marked(len(codes), starts, made)
    rest = (made == starts) & ~_has_three_digits(codes, starts, cores)
    is_changed |= _signs_among_letters(codes, starts[rest], cores[rest])
    is_changed &= letters != codes
    return np.where(is_changed, letters, codes)


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
    for last, is_new in ((cores, ~is_name), (ends, ~is_name & (ends > cores))):
        may = ((_counts(others, starts, last) == 0) & is_new).nonzero()[0]
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
