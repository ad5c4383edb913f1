"""Slices of evaluated posts: by language or script, by length, by how long an author is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from feedmill.events.post import Post
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.metrics import fraction, roc_auc

_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_LETTER = re.compile(r"[^\W\d_]")
_DAY_MS = 86_400_000
_MIN_ROWS = 20


class Slice(msgspec.Struct, frozen=True):
    """How a filter does on one slice.

    `caught` and `false_alarms` are the fractions of violating and of fine posts that reach the
    threshold; `auc` is None where the slice has one class alone.
    """

    by: str
    value: str
    rows: int
    violating: int
    auc: float | None
    caught: float
    false_alarms: float


def slices_of(rows: LabelledPosts, scores: Values, threshold: float) -> list[Slice]:
    """Return the slices with at least 20 rows.

    `scores` are (rows,); a post of at least `threshold` counts as caught.
    """
    slices = []
    for by, values in (
        ("language", [post.lang or _script(post.text) for post in rows.posts]),
        ("length", [_length(post.text) for post in rows.posts]),
        ("author known", author_ages(rows.posts)),
    ):
        names = np.array(values, dtype=np.str_)
        for value in sorted(set(values)):
            inside = names == value
            if value and inside.sum() >= _MIN_ROWS:
                violating = rows.labels[inside] == 1
                slices.append(_slice(by, value, scores[inside], violating, threshold))
    return slices


def _slice(
    by: str,
    value: str,
    scores: Values,
    violating: Mask,
    threshold: float,
) -> Slice:
    return Slice(
        by,
        value,
        len(scores),
        int(violating.sum()),
        roc_auc(scores, violating) if violating.any() and not violating.all() else None,
        fraction(scores[violating] >= threshold),
        fraction(scores[~violating] >= threshold),
    )


def _script(text: str) -> str:
    letters = len(_LETTER.findall(text))
    return "latin script" if 2 * len(_LATIN.findall(text)) >= letters else "other script"


def _length(text: str) -> str:
    words = len(text.split())
    for most, name in ((5, "1-5 words"), (15, "6-15 words"), (40, "16-40 words")):
        if words <= most:
            return name
    return "41 words and more"


def author_ages(posts: Sequence[Post]) -> list[str]:
    """Return in bands how long before each post its author first posted; "" where unknown.

    It is known where the file gave author and time, of the posts before this one.
    """
    known: Callable[[Post], bool] = lambda post: (  # noqa: E731 read once, right below
        post.created_at_ms > 0 and post.author_id != f"author-of-{post.post_id}"
    )
    first: dict[str, int] = {}
    for post in posts:
        if known(post):
            at_ms = first.get(post.author_id, post.created_at_ms)
            first[post.author_id] = min(at_ms, post.created_at_ms)
    return [
        _age(post.created_at_ms - first[post.author_id]) if known(post) else "" for post in posts
    ]


def _age(age_ms: int) -> str:
    if age_ms == 0:
        return "first post"
    if age_ms < _DAY_MS:
        return "less than a day"
    return "less than 30 days" if age_ms < 30 * _DAY_MS else "30 days and more"
