"""Reads a text as words, in which rules and lists look for phrases.

Words are letters and digits, without case; blanks, punctuation and emoji between two words do not
count.  In a phrase that has symbols (`$`, an emoji) each symbol is a word too.  Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import category

from feedmill.features.text.deobfuscation import HIDDEN, compatible
from feedmill.features.text.leet import LEET
from feedmill.features.text.normalise import normalise
from feedmill.features.text.remembered import remembered

# In scripts without blanks each character is a word, so that a phrase is found within a sentence.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Combining marks belong to their letter, but `\w` does not match them.
_MARKS = "".join(c for c in map(chr, range(0x300, 0x1D00)) if category(c)[0] == "M")
_LETTERS = f"(?:[^\\W_{_UNSPACED}][{_MARKS}]*)+|[{_UNSPACED}]"
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
_WORD = re.compile(_LETTERS)
_SYMBOL_CLASS = f"[^\\s\\w{_PUNCTUATION}{_MARKS}]"
_SYMBOL = re.compile(_SYMBOL_CLASS)
_WORD_OR_SYMBOL = re.compile(f"{_LETTERS}|{_SYMBOL_CLASS}")
# In ASCII a table and `split` find the same words as `_WORD`, four times as fast.
_ASCII_WORDS = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}


def visible(text: str) -> str:
    """Return the text in Unicode's compatibility form, without invisible characters."""
    return text if text.isascii() else _visible(text)


@remembered
def _visible(text: str) -> str:
    return compatible(_HIDDEN.sub("", text))


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
    found: list[str] = _WORD.findall(text.casefold())
    return found


def has_symbols(text: str) -> bool:
    """Return whether a visible text may have symbols; without any it has its `words` only."""
    return _SYMBOL.search(text) is not None


def words_and_symbols(text: str) -> list[str]:
    """Return the words and symbols of a visible text."""
    found: list[str] = _WORD_OR_SYMBOL.findall(text.casefold())
    return found


def phrase_words(phrase: str) -> tuple[Sequence[str], bool]:
    """Return the words of a phrase, and whether there are symbols among them."""
    seen = visible(phrase)
    plain, everything = words(seen), words_and_symbols(seen)
    return everything, plain != everything


def _may_be_disguised(text: str) -> bool:
    if not text.isascii() or _APART.search(text):
        return True
    return bool(_SIGN.search(text) and _SIGN_BESIDE_LETTER.search(text))
