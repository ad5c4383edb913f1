"""Spam in disguise is caught as the plain text is; texts are written for this test."""

import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from builders.events import posts_of
from builders.hostile_texts import SPAM
from feedmill.filters.registry import load

_LEET = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7"}
_CYRILLIC = dict(zip("aeopcxyi", "аеорсхуі", strict=True))  # noqa: RUF001 - meant


def leet(text: str, seeded: random.Random) -> str:
    return "".join(
        seeded.choice(_LEET[c.lower()]) if c.lower() in _LEET and seeded.random() < 0.3 else c
        for c in text
    )


def cyrillic(text: str, seeded: random.Random) -> str:
    return "".join(_CYRILLIC.get(c, c) if seeded.random() < 0.5 else c for c in text)


def invisible(text: str, seeded: random.Random) -> str:
    return "".join(c + "\u200b" if c.isalpha() and seeded.random() < 0.3 else c for c in text)


def spaced(text: str, _: random.Random) -> str:
    return " ".join(text)


def spaced_evenly(text: str, _: random.Random) -> str:
    return " ".join(" ".join(word) for word in text.split())


def torn(text: str, seeded: random.Random) -> str:
    return "".join(c + " " if c.isalpha() and seeded.random() < 0.3 else c for c in text)


def with_emoji(text: str, seeded: random.Random) -> str:
    return "".join(word + seeded.choice("😀🔥💰🎁") for word in text.split())


def values(texts: list[str]) -> npt.NDArray[np.float64]:
    return load("spam").score_many(posts_of(texts))


@pytest.mark.parametrize(
    "disguise", [leet, cyrillic, invisible, spaced, spaced_evenly, torn, with_emoji]
)
def test_spam_in_disguise_is_flagged_like_the_plain_text(
    disguise: Callable[[str, random.Random], str],
) -> None:
    seeded = random.Random(4)
    assert values(list(SPAM)).min() >= 0.6
    hidden = values([disguise(text, seeded) for text in SPAM for _ in range(5)])
    assert (hidden >= 0.6).mean() >= 0.9


def test_a_foreign_script_is_no_disguise() -> None:
    texts = ["Сегодня мы гуляли вдоль реки и видели цаплю", "Η βιβλιοθήκη ανοίγει στις εννέα"]  # noqa: RUF001 - meant
    assert values(texts).max() < 0.6
