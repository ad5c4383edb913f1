"""What a model says of the posts of one batch, and why it failed on some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.events.signal import RuleVerdict, Signal
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores, TextModel

ERROR_CHARACTERS = 500


@dataclass(slots=True)
class BatchScores:
    """What a model says of the n posts of one batch, and what decides instead, by their rows.

    Attributes
    ----------
    values
        (n,) float64 in [0, 1]; meaningless where there is an error.
    errors
        By row why the model failed; such a post has no value, and its gate's policy decides.
    reasons
        By row what decided instead of the model, in a few words for `Signal.reason`.
    rules
        By row the operator's rule that decides, whatever else was found.
    """

    values: Scores
    errors: Mapping[int, str]
    reasons: dict[int, str] = field(default_factory=dict)
    rules: dict[int, RuleVerdict] = field(default_factory=dict)

    def lower(self, rows: Mapping[int, tuple[float, str]]) -> None:
        """Set values and reasons, by row."""
        for row, (value, reason) in rows.items():
            self.values[row], self.reasons[row] = value, reason

    def raise_to(self, rows: range, values: Scores, reason: Callable[[int], str]) -> None:
        """Raise the values of these rows to (len(rows),) values where those are larger.

        `reason` returns the reason for the i-th of the rows.
        """
        for i in np.flatnonzero(values > self.values[rows.start : rows.stop]).tolist():
            self.values[rows[i]], self.reasons[rows[i]] = values[i], reason(i)

    def signals(
        self, posts: Iterable[tuple[int, str, int, str]], at_ms: int, model: str, revision: int = 0
    ) -> Iterator[Signal]:
        """Return the signal of each post; its rule's, if a rule decides.

        Of a post `posts` has the row, the id, the offset of its record, and the version of the
        model that judged it.
        """
        values = self.values.astype(np.float32).tolist()
        if self.errors or self.reasons or self.rules:
            return self._with_reasons(values, posts, at_ms, model, revision)
        signals = [
            Signal(post_id, offset, values[row], model, version, at_ms, None, None, None, revision)
            for row, post_id, offset, version in posts
        ]
        return iter(signals)

    def _with_reasons(
        self,
        values: Sequence[float],
        posts: Iterable[tuple[int, str, int, str]],
        at_ms: int,
        model: str,
        revision: int,
    ) -> Iterator[Signal]:
        for row, post_id, offset, version in posts:
            error = self.errors.get(row)
            value, reason = None, None
            if error is None:
                value, reason = values[row], self.reasons.get(row)
            signal = Signal(
                post_id, offset, value, model, version, at_ms, error, reason, None, revision
            )
            yield signal.with_rule(self.rules[row], at_ms) if row in self.rules else signal


def score_posts(model: TextModel, posts: PostBatch) -> BatchScores:
    """What the model says of each post, or why it failed on one.

    A batch on which the model raises is scored post by post, so that one post that breaks
    it takes no other along.
    """
    if not len(posts):
        return BatchScores(np.zeros(0), {})
    try:
        values = model.score_batch(posts)
    except Exception:  # noqa: BLE001 - a model may raise anything; found out post by post
        return _one_by_one(model, posts.posts)
    return BatchScores(values, wrong_values(values))


def _one_by_one(model: TextModel, posts: Sequence[Post]) -> BatchScores:
    values, errors = np.zeros(len(posts)), {}
    for i, post in enumerate(posts):
        try:
            values[i] = model.score_many([post])[0]
        except Exception as error:  # noqa: BLE001 - goes into the signal
            errors[i] = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]
    return BatchScores(values, {**wrong_values(values), **errors})


def wrong_values(values: npt.NDArray[np.float64]) -> dict[int, str]:
    """Return by row why a value, of (rows,), is none that a signal may have."""
    bad = [i for i, value in enumerate(values.tolist()) if not 0 <= value <= 1]
    return {i: f"the model returned {values[i]!r}, outside [0, 1]" for i in bad}


def values_of_rows(model: TextModel, posts: PostBatch, rows: Sequence[int]) -> Scores:
    """Return what a model says of some posts of a batch: (rows,) in [0, 1].

    Raises
    ------
    ValueError
        It says something else of one of them; it may raise anything else itself.
    """
    try:
        # The features of the whole batch are there: the model in force has read them.
        values = np.asarray(model.score_batch(posts))[rows]
    except Exception:  # noqa: BLE001 - a post that is none of these may be what breaks it
        values = np.asarray(model.score_batch(PostBatch([posts.posts[row] for row in rows])))
    if wrong := wrong_values(values):
        raise ValueError(next(iter(wrong.values())))
    return values
