"""Undoes disguises letter by letter, as the contract of `features/text/normalise.py` has it.

The oracle of that module, which works on whole texts by numpy: the same rules, one after the other.
"""

import re
from collections.abc import Callable, Iterable
from itertools import groupby

from feedmill.features.text.common_words import (
    LETTERS_BEFORE,
    LONGEST_WORD,
    UNIT,
    WINDOW_LETTERS,
    is_word,
    unknown_cost,
    word_cost,
)
from feedmill.features.text.normalise import without_tags

_ADDRESS = re.compile(r"(https?://\S+|www\.\S+)")
_TOKEN = re.compile(r"[A-Za-z0-9@$!]*[A-Za-z][A-Za-z0-9@$!]*")
_LEET = str.maketrans("4@31!05$7", "aaeiiosst")
_LEET_SIGNS = re.compile("[4@31!05$7]+")
_SPACED_LETTERS = re.compile(r"(?<!\S)(?:[!-~] ){3,}[!-~](?!\S)")
_PIECES = re.compile(r"[A-Za-z']+|[0-9]+|[^A-Za-z'0-9]+")
_LONE_LETTER = re.compile(r"(?<![^\t-\r\x1c- ])[B-HJ-Zb-hj-z](?![^\t-\r\x1c- ])")
_PUNCTUATION = ".,:;!?\"'()"
_SHORT_WORDS = frozenset(
    (
        *("a", "i", "am", "an", "as", "at", "be", "by", "do", "go", "he", "hi", "if", "in", "is"),
        *("it", "me", "my", "no", "of", "oh", "ok", "on", "or", "so", "to", "up", "us", "we"),
    )
)


def cost_of(word: str) -> int:
    """The cost of a common English word."""
    cost = word_cost(word.lower())
    assert cost is not None
    return cost


def slowly_deobfuscated(text: str) -> str:
    """Return what `deobfuscate` does."""
    if _SPACED_LETTERS.search(text):
        text = _join_spaced_letters(text)
    lone = len(_LONE_LETTER.findall(text))
    if lone >= 2 and lone >= (text.count(" ") + 1) / 8:
        text = _mend_torn_words(text)
    return slowly_undone_leet(text)


def slowly_undone_leet(text: str) -> str:
    """Return what `undo_leet` does."""
    return "".join(
        part if index % 2 else _TOKEN.sub(_undo_leet, part)
        for index, part in enumerate(_ADDRESS.split(text))
    )


def _join_spaced_letters(text: str) -> str:
    tokens = text.split()
    if sum(len(token) == 1 for token in tokens) < 0.6 * len(tokens):
        return _SPACED_LETTERS.sub(lambda run: _join_run(run.group()), text)
    parts = re.split(r" {2,}", text.strip())
    return " ".join(map(_join_part, parts)) if len(parts) > 1 else _join_run(text)


def _join_part(part: str) -> str:
    tokens = part.split(" ")
    return "".join(tokens) if all(len(token) == 1 for token in tokens) else _join_run(part)


def _join_run(part: str) -> str:
    words: list[str] = []
    for is_run, group in groupby(part.split(" "), lambda token: len(token) == 1):
        tokens = list(group)
        words += [_split_run("".join(tokens))] if is_run else filter(None, tokens)
    return " ".join(words)


def _split_run(run: str) -> str:
    if sum(map(str.isalpha, run)) < 3:
        return " ".join(run)
    pieces: list[str] = []
    for piece in _PIECES.findall(without_tags(run)):
        if piece[0].isalpha():
            is_whole = not piece.isascii() or is_word(piece)
            pieces += [piece] if is_whole else _split_letters(piece)
        elif piece.isdigit() or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += piece
    return " ".join(pieces)


def _split_letters(letters: str) -> list[str]:
    def words_to(end: int) -> Iterable[tuple[int, int]]:
        for start in range(max(0, end - LONGEST_WORD), end):
            piece = letters[start:end]
            cost = word_cost(piece.lower())
            yield start, unknown_cost(end - start) if cost is None else cost

    before = [0] * (len(letters) + 1)
    for owned in range(0, len(letters), WINDOW_LETTERS):
        end = min(len(letters), owned + WINDOW_LETTERS)
        found = _starts(max(0, owned - LETTERS_BEFORE), end, words_to)
        before[owned + 1 : end + 1] = [found[place] for place in range(owned + 1, end + 1)]
    pieces, end = [], len(letters)
    while end:
        pieces.append(letters[before[end] : end])
        end = before[end]
    return pieces[::-1]


def _starts(
    first: int, size: int, pieces_to: Callable[[int], Iterable[tuple[int, int]]]
) -> dict[int, int]:
    """Return by the end of pieces where the last one starts, at the least cost from `first`."""
    best = {first: (0, first)}
    for end in range(first + 1, size + 1):
        sums = [(best[at][0] + cost, at) for at, cost in pieces_to(end) if at in best]
        best[end] = min(sums)
    return {end: start for end, (_, start) in best.items()}


def _mend_torn_words(text: str) -> str:
    every = text.split(" ")
    tokens, rest = every[:1_000], every[1_000:]

    def words_to(end: int) -> Iterable[tuple[int, int]]:
        yield end - 1, _token_cost(tokens[end - 1])
        for start in range(end - 2, max(-1, end - 9), -1):
            cost = _joined_cost(tokens[start:end])
            if cost is not None:
                yield start, cost

    found, words, end = _starts(0, len(tokens), words_to), [], len(tokens)
    while end:
        words.append("".join(tokens[found[end] : end]))
        end = found[end]
    return " ".join([*reversed(words), *rest])


def _token_cost(token: str) -> int:
    core = token.strip(_PUNCTUATION)
    if not core.isalpha() or not core.isascii():
        return 0
    return cost_of(core) if _stands_alone(core) else unknown_cost(len(core))


def _stands_alone(core: str) -> bool:
    return core.lower() in _SHORT_WORDS if len(core) < 3 else is_word(core)


def _joined_cost(tokens: list[str]) -> int | None:
    pieces = [tokens[0].lstrip(_PUNCTUATION), *tokens[1:-1], tokens[-1].rstrip(_PUNCTUATION)]
    whole = "".join(pieces)
    if not (all(pieces) and whole.isascii() and whole.isalpha() and len(whole) <= LONGEST_WORD):
        return None
    if not _stands_alone(whole):
        return None
    return cost_of(whole) + 6 * UNIT * all(map(_stands_alone, pieces))


def _undo_leet(token: re.Match[str]) -> str:
    whole = token.group()
    core = whole.rstrip("!")
    if core.isalpha() or not _LEET_SIGNS.search(core):
        return whole
    for guess in (whole.translate(_LEET), core.translate(_LEET)):
        if guess.isalpha() and is_word(guess) and not (core[0] == "@" and is_word(core[1:])):
            return guess + whole[len(guess) :]
    if re.search("[0-9]{3}", core):
        return whole
    return _LEET_SIGNS.sub(_letters_for, core) + whole[len(core) :]


def _letters_for(signs: re.Match[str]) -> str:
    text, (start, end) = signs.string, signs.span()
    before, after = text[:start], text[end:]
    inside = before[-1:].isalpha() and (not after or after[:1].isalpha())
    opens = not before and end - start == 1 and signs.group() != "@" and after[:1].isalpha()
    if inside or (opens and sum(map(str.isalpha, after)) >= 3):
        return signs.group().translate(_LEET)
    return signs.group()
