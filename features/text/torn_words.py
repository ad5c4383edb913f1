"""Mends words that blanks tear apart: ``mo n ey`` gives ``money``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from feedmill.features.text.byte_rows import Bytes, Indices
from feedmill.features.text.code_points import Flags
from feedmill.features.text.common_words import (
    LONGEST_WORD,
    UNIT,
    UNKNOWN_COSTS,
    Costs,
    unknown_cost,
    word_costs,
)

# A letter behind a blank and before another that is no word by itself.  With so many of them, and
# such a fraction of all tokens, a text counts as torn.
_LONE_LETTER = re.compile(r"[\t-\r\x1c- ][B-HJ-Zb-hj-z](?![^\t-\r\x1c- ])")
MIN_LONE_LETTERS, _MIN_LONE_FRACTION = 2, 1 / 8
_MAX_PIECES, _MAX_TOKENS = 8, 1_000
_PUNCTUATION = ".,:;!?\"'()"
# Words of one or two letters, by their letters as a number; the list of common words also has
# initials and abbreviations.
_IS_SHORT_WORD = np.zeros(1 << 16, dtype=np.bool_)
_IS_SHORT_WORD[
    [
        int.from_bytes(word)
        for word in (
            *(b"a", b"i", b"am", b"an", b"as", b"at", b"be", b"by", b"do", b"go", b"he", b"hi"),
            *(b"if", b"in", b"is", b"it", b"me", b"my", b"no", b"of", b"oh", b"ok", b"on", b"or"),
            *(b"so", b"to", b"up", b"us", b"we"),
        )
    ]
] = True
_NO_LETTERS = np.zeros(2, dtype=np.uint8)
# Of joining pieces that are all words by themselves.
_JOINED_WORDS_COST = 6 * UNIT


def is_torn(text: str) -> bool:
    """Say whether so many letters stand alone that words seem to be torn by blanks."""
    lone = len(_LONE_LETTER.findall(f" {text}"))
    return lone >= MIN_LONE_LETTERS and lone >= _MIN_LONE_FRACTION * (text.count(" ") + 1)


def mend_torn_words(text: str) -> str:
    """Join neighbouring tokens to the most likely common words."""
    every = text.split(" ", _MAX_TOKENS)
    tokens, rest = every[:_MAX_TOKENS], every[_MAX_TOKENS:]
    alone, joined = _costs(tokens)
    sums, starts = [0], [0]
    for end, cost in enumerate(alone, 1):
        least, start = sums[-1] + cost, end - 1
        # The longest last, so that it is taken of equal ones.
        for first, more in joined.get(end, ()):
            if sums[first] + more <= least:
                least, start = sums[first] + more, first
        sums.append(least)
        starts.append(start)
    words, end = [], len(tokens)
    while end:
        words.append("".join(tokens[starts[end] : end]))
        end = starts[end]
    return " ".join([*reversed(words), *rest])


def _costs(tokens: Sequence[str]) -> tuple[list[int], Mapping[int, Sequence[tuple[int, int]]]]:
    """Return what tokens cost.

    Returns
    -------
    What each costs by itself, 0 if it is not made of letters, such as a number.  By the end of
    two tokens or more that make a word: where those start, and what they cost together.
    """
    cores = [token.strip(_PUNCTUATION) for token in tokens]
    cores = [core.lower() if core.isascii() and core.isalpha() else "" for core in cores]
    # Of tokens that are joined only the first may begin with punctuation, and the last end so.
    sizes = np.array([*map(len, cores)])
    begins = (sizes > 0) & [token[:1].isalpha() for token in tokens]
    ends = (sizes > 0) & [token[-1:].isalpha() for token in tokens]
    lasts = sizes.cumsum()
    firsts = lasts - sizes
    letters = "".join(cores)
    costs = _word_costs(np.frombuffer(letters.encode(), dtype=np.uint8), firsts)
    within = np.minimum(sizes, LONGEST_WORD)
    alone = costs[np.maximum(within, 1) - 1, np.arange(len(sizes))]
    is_word = (alone < UNKNOWN_COSTS.take(within)) & (sizes <= LONGEST_WORD)
    long = (sizes > LONGEST_WORD).nonzero()[0]
    alone[long] = [*map(unknown_cost, sizes[long].tolist())]
    alone *= sizes > 0
    return alone.tolist(), _joined(costs, firsts, lasts, begins[1:] & ends[:-1], is_word)


def _word_costs(letters: Bytes, firsts: Indices) -> Costs:
    """As `word_costs`, with few words of one letter or two."""
    costs = word_costs(letters, firsts)
    padded = np.append(letters, _NO_LETTERS).astype(np.uint16)
    one = padded.take(firsts)
    two = one << 8 | padded.take(firsts + 1)
    for row, letters_of in enumerate((one, two)):
        costs[row, ~_IS_SHORT_WORD.take(letters_of)] = UNKNOWN_COSTS[row + 1]
    return costs


def _joined(
    costs: Costs, firsts: Indices, lasts: Indices, can_join: Flags, is_word: Flags
) -> Mapping[int, Sequence[tuple[int, int]]]:
    """Return what `_costs` does of tokens that are joined.

    Parameters
    ----------
    costs
        (`LONGEST_WORD`, tokens) of the words that begin with a token.
    firsts, lasts
        (tokens,) where letters of each begin and end.
    can_join
        (tokens - 1,) whether it is made of letters like the next, with nothing between.
    is_word
        (tokens,) whether it is a word by itself.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    may, all_words = np.ones(len(firsts), dtype=np.bool_), is_word
    for more in range(1, _MAX_PIECES):
        may = may[: len(firsts) - more] & can_join[more - 1 :]
        all_words = all_words[: len(may)] & is_word[more:]
        sizes = lasts[more:] - firsts[: len(may)]
        at = (may & (sizes <= LONGEST_WORD)).nonzero()[0]
        if not len(at):
            break
        of_words = costs[sizes[at] - 1, at]
        totals = of_words + _JOINED_WORDS_COST * all_words[at]
        is_one = of_words < UNKNOWN_COSTS.take(sizes[at])
        at, totals = at[is_one], totals[is_one]
        for start, total in zip(at.tolist(), totals.tolist(), strict=True):
            found.setdefault(start + more + 1, []).append((start, total))
    return found
