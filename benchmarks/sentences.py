"""Ordinary texts without end: of the same length as people's, and none a near copy of another."""

from __future__ import annotations

import random
from collections.abc import Iterator

_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwxz" for vowel in "aeiou"]


def sentences(words: int, seed: int = 1) -> Iterator[str]:
    """Texts of so many words, each drawn from 4,000 invented ones."""
    drawn = random.Random(seed)
    names = ["".join(drawn.choices(_SYLLABLES, k=drawn.randrange(1, 5))) for _ in range(4000)]
    while True:
        yield " ".join(drawn.choices(names, k=words)).capitalize() + "."
