"""Texts as models read them, and which texts are disguised at all.

`deobfuscate` costs far more than everything else that is done to a text, so that only the few
texts that it may change go through it.
"""

from __future__ import annotations

import numpy as np

from feedmill.features.text.byte_rows import ByteRows, Bytes, Indices, encode
from feedmill.features.text.deobfuscation import (
    LEET,
    MIN_LONE_LETTERS,
    deobfuscate,
    normalise_characters,
)

# Classes of bytes, as flags.
_IS_LETTER = 1
_IS_SIGN = 2
_IS_EXCLAMATION = 4
_IS_BLANK = 8
_IS_PRINTABLE = 16
_IS_LONE_LETTER = 32


def _class_table() -> Bytes:
    """Classify bytes for `obfuscated_rows`; blanks are those of `str.isspace` in ASCII."""
    table = np.zeros(256, dtype=np.uint8)
    table[[*range(65, 91), *range(97, 123)]] |= _IS_LETTER
    table[list(LEET.replace(b"!", b""))] |= _IS_SIGN
    table[ord("!")] |= _IS_EXCLAMATION
    table[[*range(9, 14), *range(28, 33)]] |= _IS_BLANK
    table[33:127] |= _IS_PRINTABLE
    table[[c for c in range(65, 123) if chr(c).isalpha() and chr(c) not in "aAiI"]] |= (
        _IS_LONE_LETTER
    )
    return table


_CLASSES = _class_table()


def normalise(text: str) -> str:
    """Return the text as the models read it, with its case; see `deobfuscation`."""
    text = normalise_characters(text)
    return deobfuscate(text) if len(obfuscated_rows(ByteRows.of([encode(text)]))) else text


def obfuscated_rows(rows: ByteRows) -> Indices:
    """Return the rows that `deobfuscate` may change: (obfuscated,), ascending.

    Those with a sign beside a letter (``fr33``), with letters apart (``F R E E``), or with as many
    lone letters as torn words leave (``mo n ey``).  A row that is not among them stays as it is.
    """
    classes = _CLASSES[rows.buffer]
    is_letter = (classes & _IS_LETTER).astype(np.bool_)
    is_sign = (classes & _IS_SIGN).astype(np.bool_)
    is_exclamation = (classes & _IS_EXCLAMATION).astype(np.bool_)
    # `!` is a sign only before what belongs to the same word: it ends many sentences.
    is_beside = (is_letter[1:] | is_sign[1:]) & is_exclamation[:-1]
    is_beside |= (is_sign[1:] & is_letter[:-1]) | (is_letter[1:] & is_sign[:-1])
    is_blank = (classes & _IS_BLANK).astype(np.bool_)
    is_printable = (classes & _IS_PRINTABLE).astype(np.bool_)
    is_single = is_blank[:-2] & is_printable[1:-1] & is_blank[2:]
    is_spaced = is_single[:-6] & is_single[2:-4] & is_single[4:-2] & is_single[6:]
    places = np.concatenate([np.flatnonzero(is_beside), np.flatnonzero(is_spaced)])
    is_lone = is_single & (classes[1:-1] & _IS_LONE_LETTER).astype(np.bool_)
    owner = np.searchsorted(rows.starts, np.flatnonzero(is_lone) + 1, side="right") - 1
    torn = np.flatnonzero(np.bincount(owner, minlength=len(rows)) >= MIN_LONE_LETTERS)
    if not len(places):
        return torn
    return np.union1d(np.searchsorted(rows.starts, places, side="right") - 1, torn)
