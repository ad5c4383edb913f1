"""Texts as models read them, and which texts are disguised at all.

`deobfuscate` costs far more than everything else that is done to a text, so that only the few
texts that it may change go through it.
"""

from __future__ import annotations

from string import ascii_letters

import numpy as np

from feedmill.features.text.byte_rows import ByteRows, Indices, byte_set, encode
from feedmill.features.text.deobfuscation import (
    LEET,
    MIN_LONE_LETTERS,
    deobfuscate,
    normalise_characters,
)

_LETTERS = ascii_letters.encode()
_IS_LETTER = byte_set(_LETTERS)
_IS_LONE_LETTER = byte_set(_LETTERS.translate(None, b"aAiI"))
_IS_SIGN = byte_set(LEET.translate(None, b"!"))
_IS_BLANK = byte_set(c for c in range(128) if chr(c).isspace())
_IS_PRINTABLE = byte_set(range(ord("!"), ord("~") + 1))


def normalise(text: str) -> str:
    """Return the text as the models read it, with its case; see `deobfuscation`."""
    text = normalise_characters(text)
    return deobfuscate(text) if len(obfuscated_rows(ByteRows.of([encode(text)]))) else text


def obfuscated_rows(rows: ByteRows) -> Indices:
    """Return the rows that `deobfuscate` may change: (obfuscated,), ascending.

    Those with a sign beside a letter (``fr33``), with letters apart (``F R E E``), or with as many
    lone letters as torn words leave (``mo n ey``).  A row that is not among them stays as it is.
    """
    is_letter, is_sign = _IS_LETTER.take(rows.buffer), _IS_SIGN.take(rows.buffer)
    # `!` is a sign only before what belongs to the same word: it ends many sentences.
    is_beside = (is_letter[1:] | is_sign[1:]) & (rows.buffer[:-1] == ord("!"))
    is_beside |= (is_sign[1:] & is_letter[:-1]) | (is_letter[1:] & is_sign[:-1])
    is_blank = _IS_BLANK.take(rows.buffer)
    is_single = is_blank[:-2] & is_blank[2:] & _IS_PRINTABLE.take(rows.buffer[1:-1])
    is_spaced = is_single[:-6] & is_single[2:-4] & is_single[4:-2] & is_single[6:]
    places = np.concatenate([np.flatnonzero(is_beside), np.flatnonzero(is_spaced)])
    is_lone = is_single & _IS_LONE_LETTER.take(rows.buffer[1:-1])
    owner = np.searchsorted(rows.starts, np.flatnonzero(is_lone) + 1, side="right") - 1
    torn = np.flatnonzero(np.bincount(owner, minlength=len(rows)) >= MIN_LONE_LETTERS)
    if not len(places):
        return torn
    return np.union1d(np.searchsorted(rows.starts, places, side="right") - 1, torn)
