"""Undoes disguises of words, so that models read what people read.

Pure functions of one text.  `normalise_characters` removes HTML tags and invisible characters, and
replaces look-alike characters and emoji.  `deobfuscate` joins spaced letters (``F R E E``) and torn
words (``mo n ey``), and reads digits and signs as letters (``fr33``).  Training and serving call
both in the same way, through `normalise` and `TextBatch`.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from itertools import groupby
from math import inf, log
from pathlib import Path

import numpy as np

from feedmill.events.limits import MAX_TEXT_CHARACTERS

_WORDS = Path(__file__).parent / "lists" / "words.npy"

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

LEET = b"4@31!05$7"
_LEET = str.maketrans(LEET.decode(), "aaeiiosst")
_ADDRESS = re.compile(r"(https?://\S+|www\.\S+)")
_TOKEN = re.compile(r"[A-Za-z0-9@$!]*[A-Za-z][A-Za-z0-9@$!]*")
_LEET_SIGNS = re.compile(f"[{LEET.decode()}]+")
_THREE_DIGITS = re.compile(r"[0-9]{3}")
_SPACED_LETTERS = re.compile(r"(?<!\S)(?:[!-~] ){3,}[!-~](?!\S)")
_BLANKS = re.compile(r" {2,}")
_PIECES = re.compile(r"[A-Za-z']+|[0-9]+|[^A-Za-z'0-9]+")
_LONGEST_WORD = 16
# A letter between blanks that is no word by itself.  With so many of them, and such a fraction of
# all tokens, a text counts as torn.
_LONE_LETTER = re.compile(r"(?<![^\t-\r\x1c- ])[B-HJ-Zb-hj-z](?![^\t-\r\x1c- ])")
MIN_LONE_LETTERS, _MIN_LONE_FRACTION = 2, 1 / 8
_MAX_PIECES, _MAX_TOKENS = 8, 1_000
_PUNCTUATION = ".,:;!?\"'()"
# Words of one or two letters; the list of common words also has initials and abbreviations.
_SHORT_WORDS = frozenset(
    (
        *("a", "i", "am", "an", "as", "at", "be", "by", "do", "go", "he", "hi", "if", "in", "is"),
        *("it", "me", "my", "no", "of", "oh", "ok", "on", "or", "so", "to", "up", "us", "we"),
    )
)
# Costs are negative log-probabilities, as in Norvig, "Natural Language Corpus Data" (2009): of an
# unknown word, of each of its letters, and of joining pieces that are all words by themselves.
_UNKNOWN_WORD_COST, _UNKNOWN_LETTER_COST = 10.0, 2.3
_JOINED_WORDS_COST = 6.0


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
    if _SPACED_LETTERS.search(text):
        text = _join_spaced_letters(text)
    if _is_torn(text):
        text = _mend_torn_words(text)
    return "".join(
        part if index % 2 else _TOKEN.sub(_undo_leet, part)
        for index, part in enumerate(_ADDRESS.split(text))
    )


@cache
def _word_costs() -> dict[int, float]:
    """Return the cost of each common English word by its CRC-32; the list has the commonest first.

    The frequency of a word follows from its rank by Zipf's law.
    """
    ranks = {word: rank for rank, word in enumerate(np.load(_WORDS, allow_pickle=False).tolist())}
    scale = log(len(ranks) + 1)
    return {word: log((rank + 1) * scale) for word, rank in ranks.items()}


def _crc(word: str) -> int:
    return zlib.crc32(word.lower().encode())


def is_word(word: str) -> bool:
    """Say whether it is a common English word."""
    return _crc(word) in _word_costs()


def _join_spaced_letters(text: str) -> str:
    """Join letters with a blank between each: ``F R E E stuff`` gives ``FREE stuff``."""
    tokens = text.split()
    if sum(len(token) == 1 for token in tokens) < 0.6 * len(tokens):
        return _SPACED_LETTERS.sub(lambda run: _join_run(run.group()), text)
    # Nearly every letter is spaced, so that words are separated by two blanks or more, if at all.
    parts = _BLANKS.split(text.strip())
    if len(parts) > 1:
        return " ".join(_join_part(part) for part in parts)
    return _join_run(text)


def _join_part(part: str) -> str:
    tokens = part.split(" ")
    return "".join(tokens) if all(len(token) == 1 for token in tokens) else _join_run(part)


def _join_run(part: str) -> str:
    """Join runs of single characters, and split each run into words."""
    words: list[str] = []
    for is_run, group in groupby(part.split(" "), lambda token: len(token) == 1):
        tokens = list(group)
        words += [_split_run("".join(tokens))] if is_run else filter(None, tokens)
    return " ".join(words)


def _split_run(run: str) -> str:
    """Split joined letters, digits and signs into words; a sign stays with what it follows."""
    if sum(map(str.isalpha, run)) < 3:
        return " ".join(run)
    pieces: list[str] = []
    for piece in _PIECES.findall(_without_tags(run)):
        if piece[0].isalpha():
            pieces += [piece] if is_word(piece) else _split_letters(piece)
        elif piece.isdigit() or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += piece
    return " ".join(pieces)


def _split_letters(letters: str) -> list[str]:
    """Split letters into the most likely sequence of common words.

    Linear in the letters, as no word is longer than `_LONGEST_WORD`.
    """
    costs, lower = _word_costs(), letters.lower().encode()
    unknown = [_unknown_cost(count) for count in range(_LONGEST_WORD + 1)]

    def words_to(end: int) -> Iterable[tuple[int, float]]:
        return [
            (start, costs.get(zlib.crc32(lower[start:end]), unknown[end - start]))
            for start in range(max(0, end - _LONGEST_WORD), end)
        ]

    return [letters[start:end] for start, end in _cheapest_pieces(len(lower), words_to)]


def _cheapest_pieces(
    size: int, pieces_to: Callable[[int], Iterable[tuple[int, float]]]
) -> list[tuple[int, int]]:
    """Return start and end of the pieces that make up `size` elements at the least total cost.

    Dynamic programming over their ends; `pieces_to` yields start and cost of all with one end.
    """
    best = [(0.0, 0)]
    for end in range(1, size + 1):
        best.append(min([(best[start][0] + cost, start) for start, cost in pieces_to(end)]))
    pieces, end = [], size
    while end:
        pieces.append((best[end][1], end))
        end = best[end][1]
    return pieces[::-1]


def _is_torn(text: str) -> bool:
    """Say whether so many letters stand alone that words seem to be torn by blanks."""
    lone = sum(1 for _ in _LONE_LETTER.finditer(text))
    return lone >= MIN_LONE_LETTERS and lone >= _MIN_LONE_FRACTION * (text.count(" ") + 1)


def _mend_torn_words(text: str) -> str:
    """Join neighbouring tokens to the most likely common words."""
    every = text.split(" ")
    tokens, rest = every[:_MAX_TOKENS], every[_MAX_TOKENS:]

    def words_to(end: int) -> Iterable[tuple[int, float]]:
        yield end - 1, _token_cost(tokens[end - 1])
        for start in range(end - 2, max(-1, end - 1 - _MAX_PIECES), -1):
            cost = _joined_cost(tokens[start:end])
            if cost is None:
                return
            yield start, cost

    pieces = _cheapest_pieces(len(tokens), words_to)
    return " ".join([*("".join(tokens[start:end]) for start, end in pieces), *rest])


def _token_cost(token: str) -> float:
    """Return the cost of a token by itself; 0 if it is not made of letters, such as a number."""
    core = token.strip(_PUNCTUATION)
    if not core.isalpha() or not core.isascii():
        return 0.0
    return _word_costs()[_crc(core)] if _stands_alone(core) else _unknown_cost(len(core))


def _stands_alone(core: str) -> bool:
    return core.lower() in _SHORT_WORDS if len(core) < 3 else is_word(core)


def _unknown_cost(letters: int) -> float:
    return _UNKNOWN_WORD_COST + _UNKNOWN_LETTER_COST * letters


def _joined_cost(tokens: list[str]) -> float | None:
    """Return the cost of tokens joined to one word: infinite if it is no word.

    None if no longer sequence of tokens with the same last one can make a word either.
    """
    first, last = tokens[0].lstrip(_PUNCTUATION), tokens[-1].rstrip(_PUNCTUATION)
    pieces = [first, *tokens[1:-1], last]
    whole = "".join(pieces)
    if not whole.isalpha() or not whole.isascii() or len(whole) > _LONGEST_WORD:
        # In a longer sequence `first` stands inside, where only letters may be.
        return None if len(whole) > _LONGEST_WORD or not first.isalpha() else inf
    if not all(pieces) or not _stands_alone(whole):
        return inf
    return _word_costs()[_crc(whole)] + _JOINED_WORDS_COST * all(map(_stands_alone, pieces))


def _undo_leet(token: re.Match[str]) -> str:
    """Replace signs by letters where that makes a word, or where they stand among letters."""
    whole = token.group()
    core = whole.rstrip("!")
    if core.isalpha() or not _LEET_SIGNS.search(core):
        return whole
    for guess in (whole.translate(_LEET), core.translate(_LEET)):
        if guess.isalpha() and is_word(guess) and not (core[0] == "@" and is_word(core[1:])):
            return guess + whole[len(guess) :]
    if _THREE_DIGITS.search(core):
        return whole
    return _LEET_SIGNS.sub(_letters_for, core) + whole[len(core) :]


def _letters_for(signs: re.Match[str]) -> str:
    """Replace signs between letters or after them, or a single one before at least 3 letters."""
    text, (start, end) = signs.string, signs.span()
    before, after = text[:start], text[end:]
    inside = before[-1:].isalpha() and (not after or after[:1].isalpha())
    opens = not before and end - start == 1 and signs.group() != "@" and after[:1].isalpha()
    if inside or (opens and sum(map(str.isalpha, after)) >= 3):
        return signs.group().translate(_LEET)
    return signs.group()
