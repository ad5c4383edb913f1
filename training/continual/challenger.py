"""One challenger: it scores each row before it learns it, and is released if that shows it better.

*Better*: the rows that no earlier challenger bet on are taken group by group, in the order of time.
A model of everything before scores the next group, and so does the champion; the mean difference of
their losses is one bet (`anytime_test`).  Then the challenger learns the group, too.

*Not worse*: bets on a reference that is older than all of this, and never changes.

*No veto*: the labels of the audit, where there is one, do not show that it is worse on all posts.

What a row, a group and a loss is depends on the model: a `Contest` says it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, NamedTuple, TypeVar

from feedmill.training.arrays import Values
from feedmill.training.continual.anytime_test import e_value

ALPHA = 0.01
MARGIN = 0.01
# Of challengers that are not worse, the audit vetoes one in twenty at most.
VETO_ALPHA = 0.05

Fitted = TypeVar("Fitted")
BetOn = TypeVar("BetOn")


class Contest(ABC, Generic[Fitted, BetOn]):
    """A champion, and the rows on which challengers of its kind are tried.

    Attributes
    ----------
    least_new
        So many rows that no challenger has bet on: a start with fewer would mostly be in vain.
    reference_reason
        Why a challenger that fails on the reference is not released.
    """

    least_new: ClassVar[int]
    reference_reason: ClassVar[str]

    @property
    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """How many rows there are, by name; `new` are those that no challenger has bet on."""

    @property
    @abstractmethod
    def bet_on(self) -> BetOn:
        """What says of a later contest's rows on which a challenger has bet after this one."""

    @abstractmethod
    def too_few(self) -> str:
        """Say why there is too little to learn from; "" if there is enough."""

    @abstractmethod
    def bets(self) -> Values:
        """Return how much less challengers lose, (bets,) in [-1, 1], each before it learns."""

    @abstractmethod
    def fit(self) -> Fitted:
        """Fit a challenger on all rows."""

    @abstractmethod
    def reference_differences(self, fitted: Fitted) -> Values:
        """Return how much better than it must be it is on the reference: (bets,), in [-1, 1]."""

    @abstractmethod
    def audit_differences(self, fitted: Fitted) -> Values | None:
        """Return how much more wrong it does on each row of the audit: (rows,), in [-1, 1].

        None where there is no audit.
        """


class Verdict(NamedTuple, Generic[Fitted]):
    """What came of a challenger.

    Attributes
    ----------
    reason
        Why it is not to be released; "" if it is.
    bets, better
        How many bets there were, and the e-value of its being better.
    not_worse
        Its e-value on the reference; 1 where it was not better.
    worse
        The e-value of the audit for its being worse; None where nobody asked the audit.
    fitted
        The challenger that learned from everything; None if it was not better.
    """

    reason: str
    bets: int
    better: float
    not_worse: float = 1.0
    worse: float | None = None
    fitted: Fitted | None = None

    @property
    def e_values(self) -> dict[str, float]:
        """How many bets there were, and the e-values, by name; without an audit not its own."""
        found = {"bets": float(self.bets), "better": self.better, "not_worse": self.not_worse}
        return found if self.worse is None else {**found, "worse": self.worse}


def challenge(contest: Contest[Fitted, BetOn]) -> Verdict[Fitted]:
    """Train a challenger and compare it with the champion; takes seconds to minutes."""
    if reason := contest.too_few():
        return Verdict(reason, 0, 1.0)
    differences = contest.bets()
    better = e_value(differences)
    if better < 1 / ALPHA:
        return Verdict("it is not shown to be better", len(differences), better)
    fitted = contest.fit()
    not_worse = e_value(contest.reference_differences(fitted))
    audited = contest.audit_differences(fitted)
    worse = None if audited is None else e_value(audited)
    reason = "" if not_worse >= 1 / ALPHA else contest.reference_reason
    if not reason and worse is not None and worse >= 1 / VETO_ALPHA:
        reason = "the audit shows that it is worse"
    return Verdict(reason, len(differences), better, not_worse, worse, fitted)
