"""Writes the posts of the demo from its phrases: invented, varied, and as good as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feedmill.simulation.bad_phrases import BAD
from feedmill.simulation.phrases import TOPICS
from feedmill.simulation.voices import FRAMES, VOICES

# Below the first a post is throwaway, from the second on careful; see `FRAMES`.
_TIERS = (0.3, 0.62)


@dataclass
class PostWriter:
    """Draws texts; the same generator state gives the same texts."""

    rng: np.random.Generator

    def ordinary(self, community: str, lang: str, quality: float) -> str:
        """A post about the community's topics, careful or careless as `quality` in [0, 1] says."""
        tier = sum(quality >= limit for limit in _TIERS)
        words = {**VOICES[lang], **TOPICS[community, lang], "frame": FRAMES[lang][tier]}
        text = _capitalised(_Drawn(words, self.rng)["frame"])
        # Careless posts begin small, as they do.
        return text[:1].upper() + text[1:] if tier else text

    def bad(self, kind: str, community: str) -> tuple[str, tuple[str, ...] | None]:
        """A post of kind spam, nsfw, false or clickbait, and its links."""
        words = BAD[kind]
        if kind == "clickbait":
            words = {**words, "thing": TOPICS[community, "en"]["thing"]}
        text = _Drawn(words, self.rng)["frame"]
        links = tuple(word for word in text.split() if word.startswith("http"))
        return _capitalised(text), links or None


class _Drawn(dict[str, str]):
    """Fills `{name}` with one of its options, each time with another, until no brace is left.

    `{n}` and `{m}`, which no table has, are numbers.
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
