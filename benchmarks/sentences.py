"""Ordinary texts without end: of the same length as people's, and none a near copy of another."""

from __future__ import annotations

import random
from collections.abc import Iterator

_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwxz" for vowel in "aeiou"]


def invented_words(count: int, seed: int = 1) -> list[str]:
    """Words of one to four syllables; a few of them are alike."""
    drawn = random.Random(seed)
    return ["".join(drawn.choices(_SYLLABLES, k=drawn.randrange(1, 5))) for _ in range(count)]


def sentences(words: int, seed: int = 1) -> Iterator[str]:
    """Texts of so many words, each drawn from 4,000 invented ones."""
    drawn = random.Random(seed)
    names = invented_words(4000, seed)
    while True:
        yield " ".join(drawn.choices(names, k=words)).capitalize() + "."
