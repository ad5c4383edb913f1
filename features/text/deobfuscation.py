"""Undoes the ways in which words are disguised, so that models read what people read.

Pure functions of one text.  `normalise_characters` undoes tags, invisible and look-alike
characters, and emoji between words; `deobfuscate` undoes letters set apart, words torn by blanks,
and digits or signs in the place of letters.  Training and serving apply both in the same way.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from functools import cache
from math import inf, log
from pathlib import Path

import numpy as np

MAX_CHARACTERS = 20_000
_WORDS = Path(__file__).parent / "lists" / "words.npy"

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff]"
)
# Possessive and bounded: a text of many `<` is looked at once.
_TAG = re.compile(
    r"<(?:a\s[^<>]{0,60}?href=[\"']?([^\"'<>\s]{0,2000}+)[^<>]{0,200}|/?[a-zA-Z][^<>]{0,200})>"
)
# What platforms make of a moment in a video: `<a href="…&amp;t=3m40s">3:40</a>` leads nowhere else.
_MOMENT = re.compile(r"<a\s[^<>]{0,2000}+>(\d{1,2}(?::\d\d){1,2})</a>")
_PICTURES = (
    "\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001faff\U000e0000-\U000e007f"
)
_EMOJI = re.compile(f"( ?)[{_PICTURES}][ {_PICTURES}]*+")
# Letters of other scripts that look like Latin ones, and the Latin ones.
_CYRILLIC = ("аАеЕоОрРсСхХуУіІѕЅјЈһҺԁԛԝВКМНТ", "aAeEoOpPcCxXyYiIsSjJhHdqwBKMHT")
_GREEK = ("αΑεΕοΟρΡτΤυΥχΧιΙκΚνΝΜΒΗΖ", "aAeEoOpPtTuYxXiIkKvNMBHZ")
_SMALL = ("ɑɡıɩʏʀɴʜᴀʙᴄᴅᴇᴊᴋʟᴍᴏᴘᴛᴜᴠᴡᴢ", "agiiyrnhabcdejklmoptuvwz")
_LOOK_ALIKES = str.maketrans(
    "".join(other for other, _ in (_CYRILLIC, _GREEK, _SMALL)),
    "".join(latin for _, latin in (_CYRILLIC, _GREEK, _SMALL)),
)

LEET = b"4@31!05$7"
_LEET = str.maketrans(LEET.decode(), "aaeiiosst")
_ADDRESS = re.compile(r"(https?://\S+|www\.\S+)")
_TOKEN = re.compile(r"[A-Za-z0-9@$!]*[A-Za-z][A-Za-z0-9@$!]*")
_SIGNS = re.compile(r"[4@31!05$7]+")
_NUMBER = re.compile(r"[0-9]{3}")
_APART = re.compile(r"(?<!\S)(?:[!-~] ){3,}[!-~](?!\S)")
_BLANKS = re.compile(r" {2,}")
_PIECES = re.compile(r"[A-Za-z']+|[0-9]+|[^A-Za-z'0-9]+")
_LONGEST_WORD = 16
# Letters alone between blanks, but for those that are words; so many make a text look torn.
_LONE = re.compile(r"(?<![^\t-\r\x1c- ])[B-HJ-Zb-hj-z](?![^\t-\r\x1c- ])")
MANY_LONE, _LONE_SHARE = 2, 1 / 8
_MOST_PIECES, _MOST_TOKENS = 8, 1_000
_PUNCTUATION = ".,:;!?\"'()"
# The words of one or two letters; a list of common words has many others, such as initials.
_SHORT_WORDS = frozenset(
    (
        *("a", "i", "am", "an", "as", "at", "be", "by", "do", "go", "he", "hi", "if", "in", "is"),
        *("it", "me", "my", "no", "of", "oh", "ok", "on", "or", "so", "to", "up", "us", "we"),
    )
)
_NO_REASON_TO_JOIN = 6.0
# An unknown word, and each of its letters, as Norvig's word segmentation has it.
_UNKNOWN, _UNKNOWN_LETTER = 10.0, 2.3


def normalise_characters(text: str) -> str:
    """Return the text in compatibility form, its look-alikes Latin, tags and emoji a blank."""
    text = text[:MAX_CHARACTERS]
    text = _untagged(text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_LOOK_ALIKES)
    return _EMOJI.sub(" ", text)[:MAX_CHARACTERS]


def _untagged(text: str) -> str:
    if "<" not in text:
        return text
    return _TAG.sub(lambda tag: f" {tag.group(1) or ''} ", _MOMENT.sub(r"\1", text))


def deobfuscate(text: str) -> str:
    """Return a plain text with spaced letters closed up and l33t words spelled out."""
    if _APART.search(text):
        text = _closed_up(text)
    if _is_torn(text):
        text = _mended(text)
    return "".join(
        part if index % 2 else _TOKEN.sub(_spelled_out, part)
        for index, part in enumerate(_ADDRESS.split(text))
    )


@cache
def _ranks() -> dict[int, int]:
    """CRC-32 of common English words, most common first, to their ranks."""
    return {word: rank for rank, word in enumerate(np.load(_WORDS, allow_pickle=False).tolist())}


def is_word(word: str) -> bool:
    """Say whether it is a common English word."""
    return zlib.crc32(word.lower().encode()) in _ranks()


def _closed_up(text: str) -> str:
    tokens = text.split()
    if sum(len(token) == 1 for token in tokens) < 0.6 * len(tokens):
        return _APART.sub(lambda run: _joined(run.group()), text)
    # Nearly everything is spaced: two blanks or more part the words, if there are any such.
    parts = _BLANKS.split(text.strip())
    if len(parts) > 1:
        return " ".join(_without_blanks(part) for part in parts)
    return _joined(text)


def _without_blanks(part: str) -> str:
    tokens = part.split(" ")
    return "".join(tokens) if all(len(token) == 1 for token in tokens) else _joined(part)


def _joined(part: str) -> str:
    """Close up the single characters of a stretch; a long one is cut into words."""
    words: list[str] = []
    run = ""
    for token in [*part.split(" "), ""]:
        if len(token) == 1:
            run += token
            continue
        if run:
            words.append(_segmented(run))
            run = ""
        if token:
            words.append(token)
    return " ".join(words)


def _segmented(run: str) -> str:
    """Cut a run of letters, digits and signs into words; marks stay with what they follow."""
    if sum(map(str.isalpha, run)) < 3:
        return " ".join(run)
    pieces: list[str] = []
    for piece in _PIECES.findall(_untagged(run)):
        if piece[0].isalpha():
            pieces += [piece] if is_word(piece) else _cut(piece)
        elif piece.isdigit() or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += piece
    return " ".join(pieces)


def _cut(letters: str) -> list[str]:
    """Cut letters into the most likely common words, their frequencies after Zipf's law."""
    ranks, lower = _ranks(), letters.lower().encode()
    scale = log(len(ranks) + 1)
    best = [(0.0, 0)]
    for end in range(1, len(lower) + 1):
        choices = []
        for start in range(max(0, end - _LONGEST_WORD), end):
            rank = ranks.get(zlib.crc32(lower[start:end]))
            cost = (
                _UNKNOWN + _UNKNOWN_LETTER * (end - start)
                if rank is None
                else log((rank + 1) * scale)
            )
            choices.append((best[start][0] + cost, start))
        best.append(min(choices))
    words, end = [], len(lower)
    while end:
        start = best[end][1]
        words.append(letters[start:end])
        end = start
    return words[::-1]


def _is_torn(text: str) -> bool:
    lone = sum(1 for _ in _LONE.finditer(text))
    return lone >= MANY_LONE and lone >= _LONE_SHARE * (text.count(" ") + 1)


def _mended(text: str) -> str:
    """Join pieces that neighbouring blanks part to the most likely common words."""
    tokens = text.split(" ")
    tokens, rest = tokens[:_MOST_TOKENS], tokens[_MOST_TOKENS:]
    best = [(0.0, 0)]
    for end in range(1, len(tokens) + 1):
        choices = [(best[end - 1][0] + _cost(tokens[end - 1]), end - 1)]
        for start in range(end - 2, max(-1, end - 1 - _MOST_PIECES), -1):
            cost = _cost_joined(tokens[start:end])
            if cost is None:
                break
            choices.append((best[start][0] + cost, start))
        best.append(min(choices))
    words, end = [], len(tokens)
    while end:
        start = best[end][1]
        words.append("".join(tokens[start:end]))
        end = start
    return " ".join([*words[::-1], *rest])


def _cost(token: str) -> float:
    """What a piece costs as it stands; nothing if it is no word at all, such as a number."""
    core = token.strip(_PUNCTUATION)
    if not core.isalpha() or not core.isascii():
        return 0.0
    return _cost_of_word(core) if _stands_alone(core) else _UNKNOWN + _UNKNOWN_LETTER * len(core)


def _stands_alone(core: str) -> bool:
    return core.lower() in _SHORT_WORDS if len(core) < 3 else is_word(core)


def _cost_of_word(word: str) -> float:
    ranks = _ranks()
    return log((ranks[zlib.crc32(word.lower().encode())] + 1) * log(len(ranks) + 1))


def _cost_joined(tokens: list[str]) -> float | None:
    """What these pieces cost as one word, infinite if it is none; None if no longer one can be."""
    first, last = tokens[0].lstrip(_PUNCTUATION), tokens[-1].rstrip(_PUNCTUATION)
    pieces = [first, *tokens[1:-1], last]
    whole = "".join(pieces)
    if not whole.isalpha() or not whole.isascii() or len(whole) > _LONGEST_WORD:
        # Its end may not be letters alone; what is between must be.
        return None if len(whole) > _LONGEST_WORD or not first.isalpha() else inf
    if not all(pieces) or not _stands_alone(whole):
        return inf
    return _cost_of_word(whole) + _NO_REASON_TO_JOIN * all(map(_stands_alone, pieces))


def _spelled_out(token: re.Match[str]) -> str:
    whole = token.group()
    core = whole.rstrip("!")
    if core.isalpha() or not _SIGNS.search(core):
        return whole
    for guess in (whole.translate(_LEET), core.translate(_LEET)):
        if guess.isalpha() and is_word(guess) and not (core[0] == "@" and is_word(core[1:])):
            return guess + whole[len(guess) :]
    if _NUMBER.search(core):
        return whole
    return _SIGNS.sub(_letter_between, core) + whole[len(core) :]


def _letter_between(signs: re.Match[str]) -> str:
    """Spell out signs between letters, after letters at the end, or one before a long rest."""
    text, (start, end) = signs.string, signs.span()
    before, after = text[:start], text[end:]
    inside = before[-1:].isalpha() and (not after or after[:1].isalpha())
    opens = not before and end - start == 1 and signs.group() != "@" and after[:1].isalpha()
    if inside or (opens and sum(map(str.isalpha, after)) >= 3):
        return signs.group().translate(_LEET)
    return signs.group()
