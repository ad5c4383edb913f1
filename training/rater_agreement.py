"""How reliable raters are, from posts that several of them labelled: Dawid and Skene (1979).

Nobody knows the true labels.  The model says: a post violates with some probability, and each rater
finds a violating post with a probability of their own, and spares a fine one with another.
Expectation-maximisation goes back and forth between the posts and the raters.  Packages that have
it bring deep learning along (crowd-kit), or another model (cleanlab).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.training.arrays import Values

_ROUNDS = 100
_SETTLED = 1e-6
# Each rater starts with four right labels and a wrong one of each kind: few labels say little.
_RIGHT, _WRONG = 4.0, 1.0


class Agreement(NamedTuple):
    """What the labels say of posts and raters.

    Attributes
    ----------
    violates
        Of each post, the probability that it violates: (posts,).
    sensitivity
        Of each rater, the probability that a violating post is labelled so: (raters,).
    specificity
        Of each rater, the probability that a fine post is labelled so: (raters,).
    """

    violates: Values
    sensitivity: Values
    specificity: Values


def dawid_skene(posts: Sequence[int], raters: Sequence[int], violates: Sequence[bool]) -> Agreement:
    """Fit the model to n labels.

    Parameters
    ----------
    posts, raters
        Of each label its post and its rater, numbered from 0 without gaps: (n,).
    violates
        What each label says: (n,).
    """
    of_post, of_rater = np.asarray(posts, np.int64), np.asarray(raters, np.int64)
    says = np.asarray(violates, np.float64)
    # The majority to begin with.
    truth = np.bincount(of_post, says) / np.bincount(of_post)
    for _ in range(_ROUNDS):
        sensitivity = _rates(of_rater, says, truth[of_post])
        specificity = _rates(of_rater, 1 - says, 1 - truth[of_post])
        prior = (truth.sum() + 1) / (len(truth) + 2)
        caught, spared = sensitivity[of_rater], specificity[of_rater]
        odds = np.where(says == 1, np.log(caught / (1 - spared)), np.log((1 - caught) / spared))
        log_odds = np.log(prior / (1 - prior)) + np.bincount(of_post, odds)
        before, truth = truth, 1 / (1 + np.exp(-np.clip(log_odds, -50, 50)))
        if np.abs(truth - before).max() < _SETTLED:
            break
    return Agreement(truth, sensitivity, specificity)


def _rates(of_rater: npt.NDArray[np.int64], right: Values, weights: Values) -> Values:
    """Return how often each rater's labels are right, of those with these weights: (raters,)."""
    hits = np.bincount(of_rater, right * weights) + _RIGHT
    rates: Values = hits / (np.bincount(of_rater, weights) + _RIGHT + _WRONG)
    return rates
