"""A challenger is tried against the champion, and is released if it is shown to be better.

*Better*: rows are taken in the order in which they came.  A model of everything before scores the
next ones, and so does the champion; the difference of their losses is bet on (`e_values`).

*Not worse*: bets on a reference that is older than all of this, and never changes.

*No veto*: the labels of the audit, where there is one, do not show that it is worse on all posts.

What a row and a loss is depends on the model: a `Contest` says it.

A round computes all of this again from the topics, since a time that changes once a day: rounds of
the same evidence are looks at one test, and whoever starts again finds the same.  So a challenger
is released without reason with the probability `ALPHA` a day at most.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from feedmill.training.arrays import Values

# What is bet of what one has; a difference of -1 at 1 would lose all for good.  Only a few, because
# each takes its part of the money.
FRACTIONS = (0.1, 0.3, 0.6, 0.95)

ALPHA = 0.01
# Of challengers that are not worse, the audit vetoes one in twenty at most.
VETO_ALPHA = 0.05
Fitted = TypeVar("Fitted")


def e_values(differences: Values) -> Values:
    """Return what is owned after each bet: a test that may be looked at after every bet.

    Someone starts with 1 and bets at each step a fraction of what they have on "the difference is
    above zero".  If the mean difference is zero or less, given all that came before, no way of
    betting gains on average, and the chance to ever own 1 / alpha is at most alpha (Ville 1939).
    What they own is an e-process: it needs no number of steps fixed before, and stopping at any
    time is allowed.

    The fractions are fixed and the money is divided evenly among them, the hedged capital of
    Waudby-Smith and Ramdas (2024, "Estimating means of bounded random variables by betting",
    section 4); it gains nearly as fast as the best of the fractions, which nobody knows before.

    Parameters
    ----------
    differences
        (bets,), or (streams, bets), in [-1, 1], in the order of the bets: the loss of the champion
        less that of the challenger.  Each must be of rows that are independent of those before.

    Returns
    -------
    The e-values, in the shape of `differences`; 1 / alpha or more is evidence at the level alpha
    that the challenger is better.

    Raises `ValueError`: a difference is not in [-1, 1].
    """
    bets = np.asarray(differences, dtype=np.float64)
    if not (np.abs(bets) <= 1).all():
        raise ValueError("expected differences in [-1, 1]")
    owned = np.zeros(bets.shape)
    for fraction in FRACTIONS:
        owned += np.exp(np.cumsum(np.log1p(fraction * bets), axis=-1))
    return owned / len(FRACTIONS)


def e_value(differences: Values) -> float:
    """Return what is owned after the last of (bets,) bets; 1 without any."""
    return float(e_values(differences)[-1]) if len(differences) else 1.0


class Contest(ABC, Generic[Fitted]):
    """A champion, and the rows on which challengers of its kind are tried.

    Attributes
    ----------
    reference_reason
        Why a challenger that fails on the reference is not released.
    """

    reference_reason: ClassVar[str] = ""

    @property
    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """How many rows there are, by name."""

    @abstractmethod
    def too_few(self) -> str:
        """Say why there is too little to learn from; "" if there is enough."""

    @abstractmethod
    def better(self) -> tuple[int, float]:
        """Return how many bets there were, and the e-value of a challenger's being better."""

    @abstractmethod
    def fit(self) -> Fitted:
        """Fit a challenger on all rows."""

    @abstractmethod
    def reference_differences(self, fitted: Fitted) -> Values | None:
        """Return how much better than it must be it is on the reference: (bets,), in [-1, 1].

        None where there is no reference.
        """

    @abstractmethod
    def audit_differences(self, fitted: Fitted) -> Values | None:
        """Return how much more wrong it does on each row of the audit: (rows,), in [-1, 1].

        None where there is no audit.
        """


class ChallengeResult(NamedTuple, Generic[Fitted]):
    """What came of a challenger.

    Attributes
    ----------
    reason
        Why it is not to be released; "" if it is.
    bets, better
        How many bets there were, and the e-value of its being better.
    not_worse
        Its e-value on the reference; 1 where it was not better, None without a reference.
    worse
        The e-value of the audit for its being worse; None where nobody asked the audit.
    fitted
        The challenger that learned from everything; None if it was not better.
    """

    reason: str
    bets: int
    better: float
    not_worse: float | None = 1.0
    worse: float | None = None
    fitted: Fitted | None = None

    @property
    def e_values(self) -> dict[str, float]:
        """How many bets there were, and the e-values that there are, by name."""
        found = {"bets": float(self.bets), "better": self.better}
        others = {"not_worse": self.not_worse, "worse": self.worse}
        return found | {name: value for name, value in others.items() if value is not None}


def challenge(contest: Contest[Fitted]) -> ChallengeResult[Fitted]:
    """Train a challenger and compare it with the champion; takes seconds to minutes."""
    if reason := contest.too_few():
        return ChallengeResult(reason, 0, 1.0)
    bets, better = contest.better()
    if better < 1 / ALPHA:
        return ChallengeResult("it is not shown to be better", bets, better)
    fitted = contest.fit()
    reference, audited = contest.reference_differences(fitted), contest.audit_differences(fitted)
    not_worse, worse = (None if one is None else e_value(one) for one in (reference, audited))
    is_worse = not_worse is not None and not_worse < 1 / ALPHA
    reason = contest.reference_reason if is_worse else ""
    if not reason and worse is not None and worse >= 1 / VETO_ALPHA:
        reason = "the audit shows that it is worse"
    return ChallengeResult(reason, bets, better, not_worse, worse, fitted)
