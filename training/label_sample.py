"""Which posts to label next: part at random, part where the model is least certain.

Each post has a known probability of being drawn, so that whoever weights the labels by its inverse
estimates figures of all posts without bias (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelSample:
    """What was drawn.

    Attributes
    ----------
    rows
        (drawn,) int64, in ascending order, none twice.
    probabilities
        (drawn,) float64 in (0, 1]: of each row that it is drawn, by either part.
    at_random
        (drawn,) bool: whether the random part has it; the other part may have it too.
    """

    rows: Rows
    probabilities: Reals
    at_random: npt.NDArray[np.bool_]


def draw_posts(
    values: Reals, count: int, random_fraction: float, rng: np.random.Generator
) -> LabelSample:
    """Draw at most `count` posts: fewer where both parts draw the same.

    Parameters
    ----------
    values
        (posts,) float64 in [0, 1]: what the model says of each.
    count
        How many to draw.
    random_fraction
        How much of them is drawn with equal probabilities; the rest in proportion to
        `uncertainty`.
    rng
        The source of all randomness.
    """
    at_random = round(count * random_fraction)
    even = inclusion_probabilities(np.ones(len(values)), at_random)
    uneven = inclusion_probabilities(uncertainty(values), count - at_random)
    in_even, in_uneven = systematic_sample(even, rng), systematic_sample(uneven, rng)
    rows = np.flatnonzero(in_even | in_uneven)
    probabilities = 1.0 - (1.0 - even) * (1.0 - uneven)
    return LabelSample(rows, probabilities[rows], in_even[rows])


def uncertainty(values: Reals) -> Reals:
    """Return how uncertain a model is: 1 at a probability of 0.5, 0 at 0 and 1.

    Squared, so that many posts of which it is nearly certain do not outweigh the few others.
    """
    return np.asarray((1.0 - np.abs(2.0 * values - 1.0)) ** 2, np.float64)


def inclusion_probabilities(weights: Reals, count: int) -> Reals:
    """Return probabilities in [0, 1] in proportion to the weights, with the sum `count`.

    Where that would give a row more than 1, it has 1, and the others share the rest.  Rows of
    weight 0 have 0; so the sum is less where fewer rows have a weight.
    """
    probabilities = np.zeros(len(weights))
    certain = np.zeros(len(weights), bool)
    while True:
        left = count - int(certain.sum())
        total = float(weights[~certain].sum())
        if left <= 0 or total <= 0:
            break
        probabilities = np.where(certain, 1.0, weights * (left / total))
        more = (probabilities >= 1.0) & ~certain
        if not more.any():
            break
        certain |= more
    return np.where(certain, 1.0, np.minimum(probabilities, 1.0))


def systematic_sample(probabilities: Reals, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw each row with its probability, as many rows as the probabilities have as their sum.

    Systematic sampling over a random order (Madow 1949; Hartley and Rao 1962).
    """
    order = rng.permutation(len(probabilities))
    # Rounded, as the sum of probabilities may miss a whole number by its last digits.
    ends = np.round(np.concatenate([[0.0], np.cumsum(probabilities[order])]), 9) + rng.random()
    drawn = np.zeros(len(probabilities), bool)
    drawn[order] = np.diff(np.floor(ends)) > 0
    return drawn
