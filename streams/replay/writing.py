"""Writes the posts of the demo from its phrases: invented, varied, and as good as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feedmill.streams.replay.bad_phrases import BAD
from feedmill.streams.replay.phrases import FRAMES, TOPICS

# Below the first a post is throwaway, from the second on careful; see `FRAMES`.
_TIERS = (0.3, 0.62)


@dataclass
class Writing:
    """Draws texts; the same generator state gives the same texts."""

    rng: np.random.Generator

    def ordinary(self, community: str, lang: str, quality: float) -> str:
        """A post about the community's topics, careful or careless as `quality` in [0, 1] says."""
        words = TOPICS[community, lang]
        tier = sum(quality >= limit for limit in _TIERS)
        return _capitalised(self._filled(self._one(FRAMES[lang][tier]), words))

    def bad(self, kind: str, community: str) -> tuple[str, tuple[str, ...] | None]:
        """A post of kind spam, nsfw, false or clickbait, and its links."""
        words = BAD[kind]
        if kind == "clickbait":
            words = {**words, "thing": TOPICS[community, "en"]["thing"]}
        text = self._filled(self._one(words["frame"]), words)
        links = tuple(word for word in text.split() if word.startswith("http"))
        return _capitalised(text), links or None

    def _filled(self, frame: str, words: Mapping[str, Sequence[str]]) -> str:
        chosen = {name: self._one(options) for name, options in words.items()}
        # Second ones of a kind differ from the first.
        for name in ("thing", "detail", "offer"):
            if options := words.get(name):
                others = [option for option in options if option != chosen[name]]
                chosen[f"{name}2"] = self._one(others)
        sentence = frame.format_map(_Numbered(chosen, self))
        # The phrases have numbers of their own.
        return sentence.format_map(_Numbered({}, self))

    def number(self) -> int:
        return int(self.rng.integers(2, 60))

    def _one(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]


class _Numbered(dict[str, str]):
    """Fills `{n}` and `{m}`, which no table has, with a new number each time."""

    def __init__(self, words: Mapping[str, str], writing: Writing) -> None:
        super().__init__(words)
        self._writing = writing

    def __missing__(self, name: str) -> str:
        return str(self._writing.number())


def _capitalised(text: str) -> str:
    """Capital letters after full stops; careless posts begin small, as they do."""
    first, *others = text.split(". ")
    return ". ".join(
        [first, *(p if p.startswith("http") else p[:1].upper() + p[1:] for p in others)]
    )
