"""Undoes three disguises of words: leet, letters that stand apart, and words that are torn.

``fr33`` gives ``free``, ``F R E E stuff`` gives ``FREE stuff``, ``mo n ey`` gives ``money``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise

import numpy as np

from feedmill.features.text.common_words import (
    LONGEST_WORD,
    UNIT,
    is_word,
    split_runs,
    unknown_cost,
    word_cost,
)

LEET = b"4@31!05$7"
_ADDRESS = re.compile(r"https?://\S+|www\.\S+")
_INSIDE = "A-Za-z0-9@$!"
# A token that has letters, and a sign that is no `!` at its end.  It is tried from its start alone,
# and all is possessive, so that a long one takes linear time.
_TOKEN = re.compile(
    f"(?<![{_INSIDE}])(?=[0-9@$!]*+[A-Za-z])"
    f"(?=[A-Za-z2689]*+(?:!++[A-Za-z0-9@$]|[@$013457]))[{_INSIDE}]++"
)
_SIGNS = re.compile(f"[{LEET.decode()}]")
# Signs behind letters that stand for letters; and one that does before three letters or more.
_SIGNS_AMONG_LETTERS = re.compile(f"(?<=[A-Za-z])[{LEET.decode()}]++(?![0-9@$!])")
_OPENING_SIGN = re.compile("[431!05$7](?=[A-Za-z](?:[^A-Za-z]*+[A-Za-z]){2})")
_THREE_DIGITS = re.compile("[0-9]{3}")
_LETTERS_FOR = str.maketrans(LEET.decode(), "aaeiiosst")
SPACED_LETTERS = re.compile(r"(?<!\S)((?:[!-~] ){3,}[!-~])(?!\S)")
_MIN_SPACED_FRACTION = 0.6
# The same with any letters, and a part of a text that has nothing else.
_LETTERS_APART = re.compile("(?<![^ ])((?:[^ ] ){2,}[^ ])(?![^ ])")
_ONLY_LETTERS_APART = re.compile("[^ ](?: [^ ])*+")
_MIN_LETTERS = 3
_PIECE = re.compile("[A-Za-z']+|[0-9]+|[^A-Za-z'0-9]+")
# A letter behind a blank and before another that is no word by itself.  With so many of them, and
# such a fraction of all tokens, a text counts as torn.
_LONE_LETTER = re.compile(r"[\t-\r\x1c- ][B-HJ-Zb-hj-z](?![^\t-\r\x1c- ])")
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
# Of joining pieces that are all words by themselves.
_JOINED_WORDS_COST = 6 * UNIT


def undo_leet(text: str) -> str:
    """Replace signs by letters in tokens of letters, digits and signs; not in addresses."""
    if not _SIGNS.search(text):
        return text
    without_addresses = _ADDRESS.sub(lambda address: " " * len(address[0]), text)
    parts: list[str] = []
    at = 0
    for token in _TOKEN.finditer(without_addresses):
        parts += (text[at : token.start()], _undone(token[0]))
        at = token.end()
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
    if _OPENING_SIGN.match(core):
        core = core[0].translate(_LETTERS_FOR) + core[1:]
    return _SIGNS_AMONG_LETTERS.sub(_letters_for, core) + token[len(core) :]


def _letters_for(signs: re.Match[str]) -> str:
    return signs[0].translate(_LETTERS_FOR)


def join_spaced_letters(text: str, without_tags: Callable[[str], str]) -> str:
    """Join letters that stand apart, and split what is joined into words.

    `without_tags` is done to each run of letters once it is joined.
    """
    tokens = text.split()
    if [*map(len, tokens)].count(1) < _MIN_SPACED_FRACTION * len(tokens):
        pieces = SPACED_LETTERS.split(text)
        runs = [*range(1, len(pieces), 2)]
    else:
        pieces, runs = _letters_apart(text)
    runs = [at for at in runs if sum(map(str.isalpha, pieces[at])) >= _MIN_LETTERS]
    joined = [pieces[at][::2] for at in runs]
    words = _in_words([without_tags(run) if "<" in run else run for run in joined])
    for at, of_run in zip(runs, words, strict=True):
        pieces[at] = of_run
    return "".join(pieces)


def _letters_apart(text: str) -> tuple[list[str], list[int]]:
    """Return the pieces of a text in which nearly every letter stands apart, and which are runs.

    Words are separated by two blanks or more, if at all: what lies between these and has nothing
    else is one word.
    """
    stripped, pieces, runs = text.strip(), list[str](), list[int]()
    parts = re.split("  +", stripped) if "  " in stripped else []
    for part in parts or [re.sub(" +", " ", text).strip(" ")]:
        if parts and _ONLY_LETTERS_APART.fullmatch(part):
            pieces.append(part[::2])
        else:
            of_part = _LETTERS_APART.split(part)
            runs += range(len(pieces) + 1, len(pieces) + len(of_part), 2)
            pieces += of_part
        pieces.append(" ")
    return pieces[:-1], runs


def _in_words(runs: Sequence[str]) -> Iterator[str]:
    """Split joined letters, digits and signs into words; a sign stays with what it follows."""
    pieces_of = [_PIECE.findall(run) for run in runs]
    letters = {piece for pieces in pieces_of for piece in pieces if _is_unknown(piece)}
    split = _split(letters) if letters else {}
    for pieces in pieces_of:
        words = [split.get(piece, piece) for piece in pieces]
        for at, piece in enumerate(pieces[1:], 1):
            if piece[0].isalpha() or piece.isdigit():
                words[at] = f" {words[at]}"
        yield "".join(words)


def _is_unknown(piece: str) -> bool:
    return piece[0].isalpha() and piece[0].isascii() and not is_word(piece)


def _split(runs: Collection[str]) -> dict[str, str]:
    """Split runs of letters into common words."""
    joined = "".join(runs)
    ends = np.array([*map(len, runs)]).cumsum()
    firsts = np.append(0, ends[:-1])
    begins = split_runs(np.frombuffer(joined.lower().encode(), dtype=np.uint8), firsts).nonzero()[0]
    words = [joined[start:end] for start, end in pairwise([*begins.tolist(), len(joined)])]
    bounds = pairwise(begins.searchsorted([0, *ends]).tolist())
    return {run: " ".join(words[start:end]) for run, (start, end) in zip(runs, bounds, strict=True)}


def is_torn(text: str) -> bool:
    """Say whether so many letters stand alone that words seem to be torn by blanks."""
    lone = len(_LONE_LETTER.findall(f" {text}"))
    return lone >= MIN_LONE_LETTERS and lone >= _MIN_LONE_FRACTION * (text.count(" ") + 1)


def mend_torn_words(text: str) -> str:
    """Join neighbouring tokens to the most likely common words."""
    every = text.split(" ", _MAX_TOKENS)
    tokens, rest = every[:_MAX_TOKENS], every[_MAX_TOKENS:]
    cores = [token.strip(_PUNCTUATION).lower() for token in tokens]
    cores = [core if core.isascii() and core.isalpha() else "" for core in cores]
    known = [_cost_of(core) for core in cores]
    # Of tokens that are joined only the first may begin with punctuation, and the last end so.
    begins = [bool(core) and token[0].isalpha() for core, token in zip(cores, tokens, strict=True)]
    ends = [bool(core) and token[-1].isalpha() for core, token in zip(cores, tokens, strict=True)]
    sums, starts = [0], [0]
    for last, core in enumerate(cores):
        # What is not made of letters, such as a number, costs nothing.
        alone = known[last] or (unknown_cost(len(core)) if core else 0)
        least, start = sums[-1] + alone, last
        joined, are_words = core, known[last] is not None
        # The longest last, so that it is taken of equal ones.
        for first in range(last - 1, max(last - _MAX_PIECES, -1), -1):
            joined = cores[first] + joined
            if not (ends[first] and begins[first + 1]) or len(joined) > LONGEST_WORD:
                break
            are_words = are_words and known[first] is not None
            cost = _cost_of(joined)
            if cost is not None:
                total = sums[first] + cost + _JOINED_WORDS_COST * are_words
                if total <= least:
                    least, start = total, first
        sums.append(least)
        starts.append(start)
    words, end = [], len(tokens)
    while end:
        words.append("".join(tokens[starts[end] : end]))
        end = starts[end]
    return " ".join([*reversed(words), *rest])


def _cost_of(letters: str) -> int | None:
    """Return the cost of a common word; None if it is none, or too short to be one."""
    return word_cost(letters) if len(letters) > 2 or letters in _SHORT_WORDS else None
