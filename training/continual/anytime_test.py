"""Is one model better than another?  A test that may be looked at after every bet.

Someone starts with 1 and bets at each step a fraction of what they have on "the difference is above
zero".  If the mean difference is zero or less, given all that came before, no way of betting gains
on average, and the chance to ever own 1 / alpha is at most alpha (Ville 1939).  What they own is an
e-process: it needs no number of steps fixed before, and stopping at any time is allowed.

The fractions are fixed and the money is divided evenly among them, the hedged capital of
Waudby-Smith and Ramdas (2024, "Estimating means of bounded random variables by betting", section
4); it gains nearly as fast as the best of the fractions, which nobody knows before.
"""

from __future__ import annotations

import numpy as np

from feedmill.training.arrays import Values

# What is bet of what one has; a difference of -1 at 1 would lose all for good.  Only a few, because
# each takes its part of the money.
_FRACTIONS = (0.1, 0.3, 0.6, 0.95)


def e_values(differences: Values) -> Values:
    """Return what is owned after each bet.

    Parameters
    ----------
    differences
        (bets,), or (streams, bets), in [-1, 1], in the order of the bets: the loss of the champion
        less that of the challenger.  Each must be of rows that are independent of those before.

    Returns
    -------
    The e-values, in the shape of `differences`; 1 / alpha or more is evidence at the level alpha
    that the challenger is better.

    Raises
    ------
    ValueError
        A difference is not in [-1, 1].
    """
    bets = np.asarray(differences, dtype=np.float64)
    if not (np.abs(bets) <= 1).all():
        raise ValueError("expected differences in [-1, 1]")
    owned = np.zeros(bets.shape)
    for fraction in _FRACTIONS:
        owned += np.exp(np.cumsum(np.log1p(fraction * bets), axis=-1))
    return owned / len(_FRACTIONS)


def e_value(differences: Values) -> float:
    """Return what is owned after the last of (bets,) bets; 1 without any."""
    return float(e_values(differences)[-1]) if len(differences) else 1.0
