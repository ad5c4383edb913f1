"""Fit the head of one kind of reaction: a linear model of the text, and what kinds of media add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedmill.features.media import MEDIA_KINDS
from feedmill.models.text_model import LinearText
from feedmill.rankers.engagement import no_media
from feedmill.training.arrays import Values
from feedmill.training.fitting.linear_text import (
    RidgePenalties,
    TextRows,
    fit_with_scores,
    group_means,
    score_rows,
)


@dataclass(frozen=True)
class FittedHead:
    """A head before it is summed with others.

    Attributes
    ----------
    text
        The model of texts, which learned nothing of media.
    media
        What each of `MEDIA_KINDS` adds to its score, and 0 for unknown ones: (kinds + 1,).
    rows
        How many rows it learned from.
    """

    text: LinearText
    media: Values
    rows: int

    def scores(self, rows: TextRows) -> Values:
        """Return the score of each row: (rows,)."""
        scores = score_rows(self.text, rows)
        return scores if rows.media is None else scores + self.media[rows.media]


def fit_head(rows: TextRows, penalties: RidgePenalties) -> FittedHead:
    """Fit within groups; media after the text, so that one without media has the text's score."""
    text, scores = fit_with_scores(rows, penalties, within_groups=True)
    media = no_media()
    if penalties.media is not None and rows.media is not None:
        media = fit_media(rows, scores, penalties.media)
    return FittedHead(text, media, len(rows))


def head_scores(penalties: RidgePenalties, train: TextRows, test: TextRows) -> Values:
    """Score rows by a head that is fitted on others: (test,)."""
    return fit_head(train, penalties).scores(test)


def fit_media(rows: TextRows, scores: Values, penalty: float) -> Values:
    """Fit what kinds of media add to scores within groups, by a ridge regression.

    Parameters
    ----------
    rows
        Those of unknown kinds are left out.
    scores
        (rows,) of the text, out of fold.
    penalty
        As many rows of a kind as halve what it adds.

    Returns
    -------
    (kinds + 1,), with weighted mean 0 over the rows; 0 for kinds without rows and unknown ones.
    """
    effects = no_media()
    if rows.media is None or not (known := rows.media >= 0).any():
        return effects
    some, media, weights = rows.where(known), rows.media[known], rows.weights[known]
    columns = np.column_stack([np.eye(len(MEDIA_KINDS))[media], some.values - scores[known]])
    columns -= group_means(columns, weights, some.groups)
    kinds, rest = columns[:, :-1], columns[:, -1]
    squares = kinds.T @ (weights[:, None] * kinds) + penalty * np.eye(len(MEDIA_KINDS))
    found = np.linalg.solve(squares, kinds.T @ (weights * rest))
    seen = np.unique(media)
    effects[seen] = found[seen] - np.average(found[media], weights=weights)
    return effects
