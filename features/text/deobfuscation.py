"""Undoes disguises of words, so that models read what people read.

Pure functions of one text.  `normalise_characters` removes HTML tags and invisible characters, and
replaces look-alike characters and emoji.  `deobfuscate` joins spaced letters (``F R E E``) and torn
words (``mo n ey``), and reads digits and signs as letters (``fr33``).  Training and serving call
both in the same way, through `normalise` and `TextBatch`.
"""

from __future__ import annotations

import re
import unicodedata

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.features.text.leet import undo_leet
from feedmill.features.text.spaced_letters import SPACED_LETTERS, join_spaced_letters
from feedmill.features.text.torn_words import is_torn, mend_torn_words

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
_EMOJI = re.compile(f"( ?)[{_PICTOGRAPHS}][ {_PICTOGRAPHS}]*+")
# Letters that look like Latin ones, and those Latin letters in the same order.
_CYRILLIC = ("аАеЕоОрРсСхХуУіІѕЅјЈһҺԁԛԝВКМНТ", "aAeEoOpPcCxXyYiIsSjJhHdqwBKMHT")
_GREEK = ("αΑεΕοΟρΡτΤυΥχΧιΙκΚνΝΜΒΗΖ", "aAeEoOpPtTuYxXiIkKvNMBHZ")
_SMALL_CAPITALS = ("ɑɡıɩʏʀɴʜᴀʙᴄᴅᴇᴊᴋʟᴍᴏᴘᴛᴜᴠᴡᴢ", "agiiyrnhabcdejklmoptuvwz")
_LOOK_ALIKES = str.maketrans(
    "".join(other for other, _ in (_CYRILLIC, _GREEK, _SMALL_CAPITALS)),
    "".join(latin for _, latin in (_CYRILLIC, _GREEK, _SMALL_CAPITALS)),
)

def normalise_characters(text: str) -> str:
    """Return the text without tags and invisible characters, in Unicode's form NFKC.

    Look-alikes of Latin letters become those letters, a run of emoji becomes one blank.  At most
    `MAX_TEXT_CHARACTERS` characters are read and returned.
    """
    text = text[:MAX_TEXT_CHARACTERS]
    text = _without_tags(text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_LOOK_ALIKES)
    return _EMOJI.sub(" ", text)[:MAX_TEXT_CHARACTERS]


def _without_tags(text: str) -> str:
    if "<" not in text:
        return text
    return _TAG.sub(lambda tag: f" {tag.group(1) or ''} ", _VIDEO_MOMENT.sub(r"\1", text))


def deobfuscate(text: str) -> str:
    """Return the text with spaced letters and torn words joined, and leet words in letters.

    Expects what `normalise_characters` returns; addresses stay as they are.
    """
    if SPACED_LETTERS.search(text):
        text = join_spaced_letters(text, _without_tags)
    if is_torn(text):
        text = mend_torn_words(text)
    return undo_leet(text)
