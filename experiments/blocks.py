"""An interval over blocks of time: what other lists of the same arms would show.

All users of an arm see the same lists, so an interval by user is for these lists alone.  Days of
entry have lists of their own; between them the difference varies as much as other lists would vary.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from feedmill.experiments.sequences import Values

# With fewer the spread between blocks is a guess.
MIN_BLOCKS = 14


def block_interval(sums: Values, below: Values, alpha: float) -> tuple[Values, Values, Values]:
    """Return the difference of two ratios with the bounds of its interval, each (…).

    A jackknife that leaves out one block at a time, with Student's t.  It is for one look, at the
    end: no theory lets it be looked at again and again.

    Parameters
    ----------
    sums, below
        (…, 2, blocks): numerators and denominators of control and treated arm by block.
    alpha
        The error of the interval.
    """
    blocks = sums.shape[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = sums.sum(axis=-1) / below.sum(axis=-1)
        without = (sums.sum(axis=-1, keepdims=True) - sums) / (
            below.sum(axis=-1, keepdims=True) - below
        )
    difference = whole[..., 1] - whole[..., 0]
    left_out = without[..., 1, :] - without[..., 0, :]
    error = left_out.std(axis=-1) * np.sqrt(blocks - 1)
    reach = student.ppf(1 - alpha / 2, blocks - 1) * error
    return difference, difference - reach, difference + reach
