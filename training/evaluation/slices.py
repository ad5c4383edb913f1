"""Slices of evaluated posts: by language or script, and by length."""

from __future__ import annotations

import re

import msgspec
import numpy as np

from feedmill.events.post import Post
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.metrics import ranking

# The most characters of each band of lengths; the last band has none.
LENGTHS = (100, 200, 400, 2_000)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_LETTER = re.compile(r"[^\W\d_]")
_MIN_ROWS = 20


class Slice(msgspec.Struct, frozen=True):
    """How a filter does on one slice.

    `caught` and `false_alarms` are the fractions of violating and of fine posts that reach the
    threshold.
    """

    by: str
    value: str
    rows: int
    violating: int
    auc: Figure
    caught: Figure
    false_alarms: Figure


def slices_of(rows: LabelledPosts, scores: Values, threshold: float) -> list[Slice]:
    """Return the slices with at least 20 rows.

    `scores` are (rows,); a post of at least `threshold` counts as caught.
    """
    slices = []
    for by, values in (
        ("language", [language_of(post) for post in rows.posts]),
        ("length", [length_band(len(post.text)) for post in rows.posts]),
    ):
        names = np.array(values, dtype=np.str_)
        for value in sorted(set(values), key=lambda name: (len(name), name)):
            inside = names == value
            if inside.sum() >= _MIN_ROWS:
                slices.append(_slice(by, value, rows.where(inside), scores[inside], threshold))
    return slices


def _slice(by: str, value: str, rows: LabelledPosts, scores: Values, threshold: float) -> Slice:
    violating: Mask = rows.labels == 1
    bootstrap = Bootstrap(rows.groups)
    auc = bootstrap.figures(lambda weights: ranking(scores, violating, weights)[:, :1])[0]
    return Slice(
        by,
        value,
        len(scores),
        int(violating.sum()),
        auc,
        bootstrap.fraction(scores >= threshold, violating),
        bootstrap.fraction(scores >= threshold, ~violating),
    )


def length_band(characters: int) -> str:
    """Return the band that a text of so many characters belongs to."""
    for most in LENGTHS:
        if characters <= most:
            return f"to {most:,}"
    return f"above {LENGTHS[-1]:,}"


def language_of(post: Post) -> str:
    """Return the language that a post states, else the script of its text."""
    return post.lang or _script(post.text)


def _script(text: str) -> str:
    letters = len(_LETTER.findall(text))
    return "latin script" if 2 * len(_LATIN.findall(text)) >= letters else "other script"
