"""Undoes disguises of words, so that models read what people read.

Pure functions of one text.  `normalise_characters` removes HTML tags and invisible characters, and
replaces look-alike characters and emoji.  `deobfuscate` joins spaced letters (``F R E E``) and torn
words (``mo n ey``), and reads digits and signs as letters (``fr33``).  It costs far more than
everything else that is done to a text, so that only those that it may change go through it:
`obfuscated_rows`.  Training and serving call all in the same way, by `normalise` and `TextBatch`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, wraps
from string import ascii_letters

import numpy as np
import numpy.typing as npt

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.features.text.byte_rows import ByteRows, Indices, byte_set
from feedmill.features.text.code_points import code_points, text_of
from feedmill.features.text.disguised_words import (
    LEET,
    MIN_LONE_LETTERS,
    SPACED_LETTERS,
    is_torn,
    join_spaced_letters,
    mend_torn_words,
    undo_leet,
)

# Of texts and what was made of them: more than a cycle has.
MOST_CHARACTERS = 1 << 21
HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff"
)
# Two vowels of Khmer and the filler of Hangul, too, which phrases may have.
_INVISIBLE = re.compile(f"[{HIDDEN}\u17b4\u17b5\u3164]")
# Possessive and bounded, so that a text of many `<` takes linear time.
_TAG = re.compile(
    r"<(?:a\s[^<>]{0,60}?href=[\"']?([^\"'<>\s]{0,2000}+)[^<>]{0,200}|/?[a-zA-Z][^<>]{0,200})>"
)
# A link to a moment of the same video, as platforms write it: `<a href="…&amp;t=3m40s">3:40</a>`.
_VIDEO_MOMENT = re.compile(r"<a\s[^<>]{0,2000}+>(\d{1,2}(?::\d\d){1,2})</a>")
_PICTOGRAPHS = (
    "\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001faff\U000e0000-\U000e007f"
)
# What stands for a run of emoji and blanks, itself a pictograph, until it becomes one blank with
# the one before.  A pattern that began with that blank would be tried at every character.
_ARROW = "\u2190"
_EMOJI = re.compile(f"[{_PICTOGRAPHS}][ {_PICTOGRAPHS}]*+")
# Signs of which NFKC makes more than six bytes: a word or a phrase.  Of a text so many are spelled
# out, and one more for so many of its characters.
PHRASE_SIGNS = (
    "\u0f77\u0f79\u2034\u2037\u2057\u222d\u2230\u2a0c\u321d\u321e\u3300-\u3357\u337f\u33ae\u33af"
    "\ufdf2-\ufdf8\ufdfa-\ufdfc\U0001d15e-\U0001d164\U0001d1bb-\U0001d1c0\U0001f12a"
    "\U0001f240-\U0001f248"
)
_PHRASE_SIGN = re.compile(f"[{PHRASE_SIGNS}]")
_MORE_SIGNS, _CHARACTERS_A_SIGN = 16, 32
# Before a blank the form of a text can be cut.  A piece that has it already takes little time.
_PIECE = re.compile("(?s).{1,128}+[^ ]*+")
MOST_MARKS = 30
# Beyond the first plane a range with all marks is enough, and found faster than each of them.
_MARKS = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.combining(c))
_MARKS += "\U000101fd-\U0001e94a"
MANY_MARKS = re.compile(f"[{_MARKS}]{{{MOST_MARKS}}}")
# Letters that look like Latin ones, and those Latin letters in the same order.
_CYRILLIC = ("аАеЕоОрРсСхХуУіІѕЅјЈһҺԁԛԝВКМНТ", "aAeEoOpPcCxXyYiIsSjJhHdqwBKMHT")
_GREEK = ("αΑεΕοΟρΡτΤυΥχΧιΙκΚνΝΜΒΗΖ", "aAeEoOpPtTuYxXiIkKvNMBHZ")
_SMALL_CAPITALS = ("ɑɡıɩʏʀɴʜᴀʙᴄᴅᴇᴊᴋʟᴍᴏᴘᴛᴜᴠᴡᴢ", "agiiyrnhabcdejklmoptuvwz")
_LOOK_ALIKES, _LATIN = map("".join, zip(_CYRILLIC, _GREEK, _SMALL_CAPITALS, strict=True))
_LATIN_FOR = np.arange(ord(max(_LOOK_ALIKES)) + 1, dtype=np.uint32)
_LATIN_FOR[code_points(_LOOK_ALIKES)] = code_points(_LATIN)
# What a character may be, as bits: one look at a text says which steps have something to do.
_SIGN_BIT, _MARK_BIT, _LOOK_ALIKE_BIT, _EMOJI_BIT = 1, 2, 4, 8
_KINDS = np.zeros(0x110000, dtype=np.uint8)
for _bit, _characters in (
    *((_SIGN_BIT, PHRASE_SIGNS), (_MARK_BIT, _MARKS)),
    *((_LOOK_ALIKE_BIT, _LOOK_ALIKES), (_EMOJI_BIT, _PICTOGRAPHS)),
):
    for _first, _last in re.findall("(.)(?:-(.))?", _characters):
        _KINDS[ord(_first) : ord(_last or _first) + 1] |= _bit


def remembered(compute: Callable[[str], str]) -> Callable[[str], str]:
    """Return a pure function of texts that looks among what it returned last.

    It forgets all at once, so that a text costs a look-up, and no more memory than
    `MOST_CHARACTERS` is held.
    """
    known: dict[str, str] = {}
    characters = 0

    @wraps(compute)
    def recalled(text: str) -> str:
        nonlocal characters
        found = known.get(text)
        if found is None:
            found = compute(text)
            characters += len(text) + len(found)
            if characters > MOST_CHARACTERS:
                known.clear()
                characters = len(text) + len(found)
            known[text] = found
        return found

    return recalled


def normalise_characters(text: str) -> str:
    """Return the text without tags and invisible characters, in Unicode's form NFKC.

    Look-alikes of Latin letters become those letters, a run of emoji becomes one blank.  At most
    `MAX_TEXT_CHARACTERS` characters are read and returned.
    """
    text = text[:MAX_TEXT_CHARACTERS]
    text = without_tags(text)
    return text if text.isascii() else _in_plain_characters(text)


@remembered
def _in_plain_characters(text: str) -> str:
    text = compatible(_INVISIBLE.sub("", text))
    kinds = _kinds_in(text)
    if kinds & _LOOK_ALIKE_BIT:
        codes = code_points(text)
        latin = _LATIN_FOR.take(codes, mode="clip")
        text = text_of(np.where(codes < len(_LATIN_FOR), latin, codes))
    if kinds & _EMOJI_BIT:
        text = _EMOJI.sub(_ARROW, text).replace(f" {_ARROW}", " ").replace(_ARROW, " ")
    return text[:MAX_TEXT_CHARACTERS]


@remembered
def compatible(text: str) -> str:
    """Return the text in Unicode's form NFKC, in linear time and at most about twice as long.

    Of signs that stand for whole phrases, such as U+FDFA for 18 letters, only so many are spelled
    out; the others become blanks.  A run of combining marks is cut as Unicode's Stream-Safe Text
    Format cuts it (UAX 15), as putting it in order would take quadratic time.
    """
    kinds = _kinds_in(text)
    if kinds & _SIGN_BIT:
        most = len(text) // _CHARACTERS_A_SIGN + _MORE_SIGNS
        spelled = _PHRASE_SIGN.sub(lambda sign: _spelled(sign[0]), text, most)
        text = _PHRASE_SIGN.sub(" ", spelled)
    if kinds & (_MARK_BIT | _SIGN_BIT) and MANY_MARKS.search(text):
        return _normalised(MANY_MARKS.sub("\\g<0>\u034f", text)).replace("\u034f", "")
    return _normalised(text)


def _normalised(text: str) -> str:
    return "".join([unicodedata.normalize("NFKC", piece) for piece in _PIECE.findall(text)])


def _kinds_in(text: str) -> int:
    return int(np.bitwise_or.reduce(_KINDS.take(code_points(text))))


@cache
def _spelled(sign: str) -> str:
    return unicodedata.normalize("NFKC", sign)


def without_tags(text: str) -> str:
    """Return the text with blanks for tags of HTML, and the addresses that they link to."""
    if "<" not in text:
        return text
    return _TAG.sub(lambda tag: f" {tag.group(1) or ''} ", _VIDEO_MOMENT.sub(r"\1", text))


@remembered
def deobfuscate(text: str) -> str:
    """Return the text with spaced letters and torn words joined, and leet words in letters.

    Expects what `normalise_characters` returns; addresses stay as they are.
    """
    if SPACED_LETTERS.search(text):
        text = join_spaced_letters(text, without_tags)
    if is_torn(text):
        text = mend_torn_words(text)
    return undo_leet(text)


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
    """Return the text as the models read it, with its case."""
    text = normalise_characters(text)
    return deobfuscate(text) if len(obfuscated_rows(ByteRows.of([text]))) else text


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
