"""Two versions of a model on the posts of a product that have labels: the Brier score of each.

Their difference is a paired one: both are weighed on the same draws of raters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from feedmill.training.arrays import Values, Weights
from feedmill.training.continual.rated_posts import AuditedPost, RatedPost, independent_rows
from feedmill.training.evaluation.intervals import Bootstrap, Figure


class PairedBrier(NamedTuple):
    """The mean squared errors of two versions.

    Attributes
    ----------
    posts, groups
        How many posts count, and of how many raters, in the audit authors; of fewer than 20 the
        intervals draw posts.
    labelled
        The mean of the labels.
    champion_mean, challenger_mean
        The mean values, which should be that of the labels.
    champion, challenger
        The Brier score of each, the lower the better.
    difference
        The champion's minus the challenger's: above 0 the challenger is better.
    """

    posts: int
    groups: int
    labelled: float
    champion_mean: float
    challenger_mean: float
    champion: Figure
    challenger: Figure
    difference: Figure


def rated_brier(
    rated: Sequence[RatedPost], champion: Values, challenger: Values
) -> PairedBrier | None:
    """Compare the values of two versions with labels that people chose to give.

    Parameters
    ----------
    rated
        The labelled posts, in the order of time.
    champion, challenger
        What each version says of them: (rated,) in [0, 1].

    Returns
    -------
    None without a post.  Of near copies and of an author's posts those of one rater count.
    """
    groups = independent_rows(rated)
    rows = np.array([n for places in groups for n in places], dtype=np.int64)
    labels = np.array([row.label for row in rated])
    names = [str(rater) for rater, places in enumerate(groups) for _ in places]
    if not len(rows):
        return None
    return _paired(labels[rows], champion[rows], challenger[rows], np.ones(len(rows)), names)


def audited_brier(
    audited: Sequence[AuditedPost], champion: Values, challenger: Values
) -> PairedBrier | None:
    """Compare them with the labels of posts that were drawn at random, as `rated_brier`.

    Each post weighs the inverse of the probability with which it was drawn, so that the scores are
    those of all posts; authors are drawn for the intervals.
    """
    if not audited:
        return None
    labels = np.array([row.label for row in audited])
    weights = np.array([1 / row.probability for row in audited])
    names = [row.post.author_id for row in audited]
    return _paired(labels, champion, challenger, weights, names)


def _paired(
    labels: Values, champion: Values, challenger: Values, weights: Values, groups: Sequence[str]
) -> PairedBrier:
    """Return the scores of (n,) labels and values, n above 0, each of a weight and in a group."""
    losses = np.stack([(values - labels) ** 2 for values in (champion, challenger)], axis=1)
    losses = np.column_stack([losses, losses[:, 0] - losses[:, 1]])

    def measure(drawn: Weights) -> Values:
        weighed = drawn * weights
        totals = weighed.sum(axis=1, keepdims=True)
        return np.asarray(weighed @ losses / np.where(totals > 0, totals, np.nan), dtype=np.float64)

    bootstrap = Bootstrap(groups)
    means = (
        float(np.average(values, weights=weights)) for values in (labels, champion, challenger)
    )
    mean, champion_mean, challenger_mean = means
    figures = bootstrap.figures(measure)
    return PairedBrier(
        len(labels), bootstrap.groups, mean, champion_mean, challenger_mean, *figures
    )
