"""Writes the texts of the demo's posts from the phrases in `lists/`: invented, varied, good or bad.

All phrases were written for feedmill; no phrase comes from a data set.  Below a line `[name]` a
file has the phrases of that name, a phrase a line; a line that begins with `#` is a comment.
`PostWriter` replaces names in braces, such as `{thing}`, by phrases, and `{n}` by a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

Words = Mapping[str, tuple[str, ...]]

_LISTS: Final = Path(__file__).parent / "lists"
_NAME: Final = re.compile(r"\[(\w+)\]")
LANGUAGES: Final = ("de", "en")
COMMUNITIES: Final = ("python", "cooking", "cycling", "photography", "local-news", "gaming")

# The frames of `VOICES`, and the qualities from which a post is ordinary and from which careful.
_FRAMES = ("careless", "ordinary", "careful")
_TIERS = (0.3, 0.62)


def _words(path: Path) -> Words:
    """Return the phrases of a file by their name, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if name := _NAME.fullmatch(line):
            phrases = found.setdefault(name[1], [])
        elif line and not line.startswith("#"):
            phrases.append(line)
    return {name: tuple(phrases) for name, phrases in found.items()}


TOPICS: Final[Mapping[tuple[str, str], Words]] = {
    (community, lang): _words(path)
    for community in COMMUNITIES
    for lang in LANGUAGES
    if (path := _LISTS / lang / f"{community}.txt").exists()
}
"""By community and language; some communities have no German."""

VOICES: Final = {lang: _words(_LISTS / lang / "voices.txt") for lang in LANGUAGES}
"""What ordinary posts of all communities say, with a frame for each of three qualities."""

BAD: Final = {path.stem: _words(path) for path in sorted((_LISTS / "bad").glob("*.txt"))}
"""The bad posts by kind.  **The claims in `false` are false**, so that a filter can find them."""


@dataclass
class PostWriter:
    """Draws texts from `rng`; the same state of it gives the same texts."""

    rng: np.random.Generator

    def ordinary(self, community: str, lang: str, quality: float) -> str:
        """A text about the community's topics, as careful as `quality` in [0, 1] says."""
        tier = sum(quality >= limit for limit in _TIERS)
        voices = VOICES[lang]
        words = {**voices, **TOPICS[community, lang], "frame": voices[_FRAMES[tier]]}
        text = _capitalised(_DrawnPhrases(words, self.rng)["frame"])
        # Careless posts start with a small letter.
        return text[:1].upper() + text[1:] if tier else text

    def bad(self, kind: str, community: str) -> tuple[str, tuple[str, ...] | None]:
        """A text of kind spam, nsfw, false or clickbait, and its links; None if it has none."""
        words = BAD[kind]
        if kind == "clickbait":
            words = {**words, "thing": TOPICS[community, "en"]["thing"]}
        text = _DrawnPhrases(words, self.rng)["frame"]
        links = tuple(word for word in text.split() if word.startswith("http"))
        return _capitalised(text), links or None


class _DrawnPhrases(dict[str, str]):
    """Gives a phrase for each name in braces, each time another one, itself without braces left.

    A name that no table has, such as `{n}` and `{m}`, becomes a number.
    """

    def __init__(self, words: Mapping[str, Sequence[str]], rng: np.random.Generator) -> None:
        super().__init__()
        self._words, self._rng = words, rng
        self._used: set[str] = set()

    def __missing__(self, name: str) -> str:
        if name not in self._words:
            return str(self._rng.integers(2, 60))
        options = [option for option in self._words[name] if option not in self._used]
        drawn = options[int(self._rng.integers(len(options)))]
        self._used.add(drawn)
        return drawn.format_map(self)


def _capitalised(text: str) -> str:
    """Capital letters after full stops."""
    first, *others = text.split(". ")
    return ". ".join(
        [first, *(p if p.startswith("http") else p[:1].upper() + p[1:] for p in others)]
    )
