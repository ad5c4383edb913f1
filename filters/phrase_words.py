"""Reads a text as words, in which rules and lists look for phrases.

Words are letters and digits, without case; blanks, punctuation and emoji between two words do not
count.  In a phrase that has symbols (`$`, an emoji) each symbol is a word too.  Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import category

import numpy as np

from feedmill.features.text.code_points import CharacterTable, code_points, text_of
from feedmill.features.text.leet import LEET
from feedmill.features.text.normalise import HIDDEN, compatible, normalise
from feedmill.features.text.remembered import remembered

# In scripts without blanks each character is a word, so that a phrase is found within a sentence.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Combining marks belong to their letter, but `\w` does not match them.
_MARKS = "".join(c for c in map(chr, range(0x300, 0x1D00)) if category(c)[0] == "M")
_PUNCTUATION = (
    "!-#%-*,-/:;?@\\[-\\]_{}\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf"
    "\u2000-\u206f\u3000-\u303f\ufe00-\ufe0f"
)
_HIDDEN = re.compile(f"[{HIDDEN}]")
# Undoing disguises costs more than all else here.  In ASCII there may be one only where signs stand
# beside letters, letters stand apart, or there is a tag.
_SIGNS = LEET.decode()
_SIGN = re.compile(f"[{_SIGNS}<]")
_SIGN_BESIDE_LETTER = re.compile(f"[A-Za-z][{_SIGNS.replace('!', '')}]|[{_SIGNS}][A-Za-z]|<")
_APART = re.compile(r"\s\S\s\S\s")
_LETTER = re.compile(f"[^\\W_{_UNSPACED}]")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_SYMBOL = re.compile(f"[^\\s\\w{_PUNCTUATION}{_MARKS}]")
_LETTER_BIT, _UNSPACED_BIT, _MARK_BIT, _SYMBOL_BIT = 1, 2, 4, 8
# In ASCII a table and `split` find the same words as `_WORD`, four times as fast.
_ASCII_WORDS = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}


def visible(text: str) -> str:
    """Return the text in Unicode's compatibility form, without invisible characters."""
    return text if text.isascii() else compatible(_HIDDEN.sub("", text))


def readings(text: str) -> tuple[str, ...]:
    """Return the texts in which phrases are sought: as it is seen and, if another, undisguised."""
    seen = visible(text)
    if not _may_be_disguised(seen):
        return (seen,)
    undisguised = normalise(text)
    return (seen,) if undisguised == seen else (seen, undisguised)


def words(text: str) -> list[str]:
    """Return the words of a visible text."""
    if text.isascii():
        return text.translate(_ASCII_WORDS).split()
    return _words_beyond_ascii(text).split()


def line_of_words(text: str) -> str:
    """Return the words of a visible text, with a blank between them."""
    return " ".join(words(text)) if text.isascii() else _words_beyond_ascii(text)


def has_symbols(text: str) -> bool:
    """Return whether a visible text may have symbols; without any it has its `words` only."""
    return _SYMBOL.search(text) is not None


def words_and_symbols(text: str) -> list[str]:
    """Return the words and symbols of a visible text."""
    return line_with_symbols(text).split()


@remembered
def _words_beyond_ascii(text: str) -> str:
    return _separated(text.casefold(), _UNSPACED_BIT)


@remembered
def line_with_symbols(text: str) -> str:
    """Return the words and symbols of a visible text, with a blank between them."""
    return _separated(text.casefold(), _UNSPACED_BIT | _SYMBOL_BIT)


def _separated(text: str, alone: int) -> str:
    """Return runs of letters with the marks behind them, and what is a word by itself.

    With a blank between.
    """
    codes = code_points(text)
    kinds = _KINDS.of(codes)
    is_run, is_alone = kinds & _LETTER_BIT != 0, kinds & alone != 0
    is_mark = kinds & _MARK_BIT != 0
    if is_mark.any():
        # The place behind the last character before each that is no mark; 0 stands for none.
        last = np.maximum.accumulate(np.where(is_mark, 0, np.arange(1, len(codes) + 1)))
        is_behind = is_mark & np.append(False, is_run).take(last)
        is_run |= is_behind
        is_alone &= ~is_behind
    begins = is_alone.copy()
    begins[:1] |= is_run[:1]
    begins[1:] |= is_run[1:] > is_run[:-1]
    is_kept = is_run | is_alone
    places = (is_kept.astype(np.int64) + begins).cumsum()[is_kept] - 1
    separated = np.full(int(places[-1]) + 1 if len(places) else 0, ord(" "), dtype=codes.dtype)
    separated[places] = codes[is_kept]
    return text_of(separated)


def _kind(char: str) -> int:
    """Return what a character may be, as bits."""
    kind = _LETTER_BIT * (_LETTER.match(char) is not None)
    kind |= _UNSPACED_BIT * (_IS_UNSPACED.match(char) is not None)
    kind |= _MARK_BIT * (char in _MARKS)
    return kind | _SYMBOL_BIT * (_SYMBOL.match(char) is not None)


_KINDS = CharacterTable(_kind, np.uint8)


def phrase_words(phrase: str) -> tuple[Sequence[str], bool]:
    """Return the words of a phrase, and whether there are symbols among them."""
    seen = visible(phrase)
    plain, everything = words(seen), words_and_symbols(seen)
    return everything, plain != everything


def _may_be_disguised(text: str) -> bool:
    if not text.isascii() or _APART.search(text):
        return True
    return bool(_SIGN.search(text) and _SIGN_BESIDE_LETTER.search(text))
