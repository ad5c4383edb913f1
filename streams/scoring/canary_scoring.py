"""A candidate judges the posts of some partitions, in place of the model in force."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from feedmill.features.post_batch import PostBatch
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import Scores, TextModel
from feedmill.streams.scoring.scoring import wrong_values
from feedmill.streams.worker.step import WorkBatch

_REASON_CHARACTERS = 500


@dataclass
class CanaryScoring:
    """The candidate of a step, and the partitions of `posts` that it judges.

    Attributes
    ----------
    model, loaded
        As of `HoldsModel`.
    failure
        What the candidate raised, or said outside [0, 1]; "" while it judges.  After a failure
        it judges no more: the posts of that cycle, too, keep what the model in force says.
    """

    model: TextModel
    partitions: Collection[int]
    failure: str = ""
    loaded: TextModel = field(init=False)

    def __post_init__(self) -> None:
        self.loaded = self.model

    def judges(self, partition: int) -> bool:
        """Return whether the candidate judges the posts of a partition."""
        return not self.failure and partition in self.partitions

    def score(self, work: WorkBatch, verdicts: BatchVerdicts) -> BatchVerdicts:
        """Return the verdicts with the candidate's on its partitions; raises nothing of its own.

        `verdicts` are those of the model in force on all posts of the cycle.
        """
        parts = [part.rows for part in work.partitions if self.judges(part.source.partition)]
        rows = [row for part in parts for row in part]
        if not rows:
            return verdicts
        try:
            values = self._values(work.posts, rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            self.failure = f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS]
            return verdicts
        merged, judged = verdicts.values.copy(), set(rows)
        merged[rows] = values
        errors = {row: text for row, text in verdicts.errors.items() if row not in judged}
        return BatchVerdicts(merged, errors)

    def _values(self, posts: PostBatch, rows: Sequence[int]) -> Scores:
        """Return what the candidate says of some rows: (rows,) in [0, 1].

        Raises
        ------
        ValueError
            It says something else of one of them.
        """
        try:
            # The features of the whole batch are there: the model in force has read them.
            values = np.asarray(self.model.score_batch(posts))[rows]
        except Exception:  # noqa: BLE001 - a post of another partition may be what breaks it
            values = np.asarray(
                self.model.score_batch(PostBatch([posts.posts[row] for row in rows]))
            )
        if wrong := wrong_values(values):
            raise ValueError(next(iter(wrong.values())))
        return values
