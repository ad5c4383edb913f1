"""Texts as models read them, and which texts are disguised at all.

`deobfuscate` costs far more than everything else that is done to a text, so that only the few
texts that it may change go through it.
"""

from __future__ import annotations

from string import ascii_letters

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import ByteRows, Indices, byte_set, encode
from feedmill.features.text.deobfuscation import deobfuscate, normalise_characters
from feedmill.features.text.leet import LEET
from feedmill.features.text.remembered import remembered
from feedmill.features.text.torn_words import MIN_LONE_LETTERS

_LETTERS = ascii_letters.encode()
_LONE_LETTERS = _LETTERS.translate(None, b"aAiI")
_SIGNS = LEET.translate(None, b"!")
_BLANKS = bytes(c for c in range(128) if chr(c).isspace())
_PRINTABLE = bytes(range(ord("!"), ord("~") + 1))
_ANY = bytes(range(256))


def _flags(*sets: bytes) -> npt.NDArray[np.uint8]:
    """Return for each value of a byte a number whose bit i says that it is in set i: (256,)."""
    is_member = [byte_set(members) for members in sets]
    flags: npt.NDArray[np.uint8] = np.packbits(is_member, axis=0, bitorder="little")[0]
    return flags


# Five patterns of three bytes; `!` is a sign only before what belongs to the same word: it ends
# many sentences.
_FIRST = _flags(_SIGNS, _LETTERS, b"!", _BLANKS, _BLANKS)
_SECOND = _flags(_LETTERS, _SIGNS, _LETTERS + _SIGNS, _PRINTABLE, _LONE_LETTERS)
_THIRD = _flags(_ANY, _ANY, _ANY, _BLANKS, _BLANKS)
_BESIDE, _SINGLE, _LONE = np.uint8(0b00111), np.uint8(0b01000), np.uint8(0b10000)


@remembered
def normalise(text: str) -> str:
    """Return the text as the models read it, with its case; see `deobfuscation`."""
    text = normalise_characters(text)
    return deobfuscate(text) if len(obfuscated_rows(ByteRows.of([encode(text)]))) else text


def obfuscated_rows(rows: ByteRows) -> Indices:
    """Return the rows that `deobfuscate` may change: (obfuscated,), ascending.

    Those with a sign beside a letter (``fr33``), with letters apart (``F R E E``), or with as many
    lone letters as torn words leave (``mo n ey``).  A row that is not among them stays as it is.
    """
    buffer = rows.buffer
    found = _FIRST.take(buffer)[:-2] & _SECOND.take(buffer)[1:-1] & _THIRD.take(buffer)[2:]
    is_reason, is_single = found & _BESIDE, found & _SINGLE
    is_reason[:-6] |= is_single[:-6] & is_single[2:-4] & is_single[4:-2] & is_single[6:]
    places, lone = is_reason.nonzero()[0], (found & _LONE).nonzero()[0]
    if not len(places) and len(lone) < MIN_LONE_LETTERS:
        return places
    owner = rows.starts.searchsorted(lone, side="right") - 1
    is_obfuscated = np.bincount(owner, minlength=len(rows)) >= MIN_LONE_LETTERS
    is_obfuscated[rows.starts.searchsorted(places, side="right") - 1] = True
    return is_obfuscated.nonzero()[0]
