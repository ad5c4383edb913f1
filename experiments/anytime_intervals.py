"""Intervals and tests that hold at every look, however often one looks and whenever one stops.

Each function takes the sums so far, in arrays of any shape: the same code serves a single look, and
a thousand seeds at a hundred looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp

Values = NDArray[np.float64]
Factor = float | Values

# What a rare harm may be multiplied by: the bets of `harm_log_e` are divided among them.
HARMS = (1.1, 1.25, 1.5, 2.0)
_MOST_HARM = 1e3


def tuning(users: float, alpha: float) -> float:
    """Return rho squared with which the two-sided sequence is tightest after so many users.

    Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences"
    (2103.06476), appendix B.2: an approximation to within a thousandth of the width.
    """
    bits = -2 * np.log(alpha)
    return float((bits + np.log(bits + 1)) / users)


def radius(
    standard_error: ArrayLike, users: ArrayLike, *, tuned: float, alpha: float, sides: int = 2
) -> Values:
    """Return how far the asymptotic confidence sequence reaches from the estimate.

    2103.06476, theorem 2.2 for two sides, proposition B.1 for one.

    Parameters
    ----------
    standard_error
        Of the estimate, from all users so far.
    users
        How many users of all compared arms the estimate has.
    tuned
        After how many such users it is tightest; fixed before the first look.
    alpha, sides
        With which probability the sequence may ever miss the truth: on either of two sides, or on
        the one side that is read.
    """
    n = np.maximum(1.0, np.asarray(users, dtype=np.float64))
    scaled = n * (tuning(tuned, alpha) if sides == 2 else tuning(tuned, min(1.0, 2 * alpha)))
    crossed = np.sqrt(scaled + 1)
    bits = np.log(crossed / alpha) if sides == 2 else np.log1p(crossed / (2 * alpha))
    return np.asarray(standard_error) * np.sqrt(2 * (scaled + 1) / scaled * bits)


def ratio_log_e(counts: ArrayLike, shares: Sequence[int]) -> Values:
    """Return the logarithm of the e-value that users came to the arms in other shares.

    The bets are a Dirichlet-multinomial around the configured shares (Lindon and Malek, "Anytime-
    valid inference for multinomial count data", 2011.03567): valid whatever the order of users.

    Parameters
    ----------
    counts
        (…, arms): the users so far.
    shares
        (arms,): what is configured, in any unit.
    """
    n = np.asarray(counts, dtype=np.float64)
    expected = np.asarray(shares, dtype=np.float64) / sum(shares)
    # The prior counts as so many users: shares that differ by some percent are then likely.
    before = _RATIO_USERS * expected
    ways = gammaln(before + n) - gammaln(before) - n * np.log(expected)
    total = gammaln(_RATIO_USERS) - gammaln(_RATIO_USERS + n.sum(axis=-1))
    return np.asarray(total + ways.sum(axis=-1))


_RATIO_USERS = 1_000.0


def bet_log_e(
    control: ArrayLike, treated: ArrayLike, *, share: float, null: Factor, bet: Factor
) -> Values:
    """Return the logarithm of what a bet on rare events owns.

    Of users with the event each is one of the treated arm with the probability share x / (share x +
    1 - share), if the arm multiplies the event's rate by x.  The bet is on x = `bet` against
    x = `null`, and by that valid against every x on the other side of `null`.

    Parameters
    ----------
    control, treated
        How many users of each arm had the event so far.
    share
        Of the treated arm's users among both arms', as configured.
    null, bet
        What the arm multiplies the rate by if there is nothing to show, and if there is.
    """
    against, on = (share * x / (share * x + 1 - share) for x in (null, bet))
    gained = np.asarray(treated, dtype=np.float64) * np.log(on / against)
    lost = np.asarray(control, dtype=np.float64) * np.log((1 - on) / (1 - against))
    return np.asarray(gained + lost)


def harm_log_e(control: ArrayLike, treated: ArrayLike, share: float, null: Factor = 1.0) -> Values:
    """Return the logarithm of the e-value that an arm multiplies a harm by more than `null`."""
    bets = [bet_log_e(control, treated, share=share, null=null, bet=null * x) for x in HARMS]
    return np.asarray(logsumexp(bets, axis=0) - np.log(len(HARMS)))


def no_harm_log_e(control: ArrayLike, treated: ArrayLike, share: float, margin: Factor) -> Values:
    """Return the logarithm of the e-value that an arm multiplies a harm by less than 1 + margin."""
    return bet_log_e(control, treated, share=share, null=1 + margin, bet=1.0)


def harm_bounds(
    control: Values, treated: Values, share: float, alpha: float
) -> tuple[Values, Values]:
    """Return between which factors an arm multiplies a harm, at each look: two of (looks,).

    The bets exclude every factor outside these bounds, each bound with its own `alpha`.  The upper
    bound is infinity where the bets exclude no large factor, and never below 1: nothing bets on a
    gain.
    """
    needed = -np.log(alpha)
    low = _edge(lambda x: harm_log_e(control, treated, share, x) >= needed, 1e-3, control.shape)
    high = _edge(
        lambda x: no_harm_log_e(control, treated, share, x - 1) < needed, 1.0, control.shape
    )
    return low, np.where(high > _MOST_HARM * 0.999, np.inf, high)


def _edge(
    holds: Callable[[Values], NDArray[np.bool_]], low: float, shape: tuple[int, ...]
) -> Values:
    """Return up to which factors something holds, that does not hold above them."""
    lows, highs = np.full(shape, low), np.full(shape, _MOST_HARM)
    for _ in range(40):
        middle = np.sqrt(lows * highs)
        held = holds(middle)
        lows, highs = np.where(held, middle, lows), np.where(held, highs, middle)
    return lows
