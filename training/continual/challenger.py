"""One challenger: it scores each row before it learns it, and is released if that shows it better.

*Better*: the rows that no earlier challenger bet on are taken group by group, in the order of time.
A model of everything before scores the next group, and so does the champion; the mean difference of
their losses is one bet (`e_values`).  Then the challenger learns the group, too.

*Not worse*: bets on a reference that is older than all of this, and never changes.

*No veto*: the labels of the audit, where there is one, do not show that it is worse on all posts.

What a row, a group and a loss is depends on the model: a `Contest` says it.

Each challenger is released without reason with the probability `ALPHA` at most, so `Starts` bounds
how many challengers may bet in a day.  A `Learner` runs the rounds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from feedmill.events.errors import UsageError
from feedmill.models.store_files import Store, place_of, read_file, write_file
from feedmill.training.arrays import Values

# What is bet of what one has; a difference of -1 at 1 would lose all for good.  Only a few, because
# each takes its part of the money.
_FRACTIONS = (0.1, 0.3, 0.6, 0.95)

ALPHA = 0.01
MARGIN = 0.01
# Of challengers that are not worse, the audit vetoes one in twenty at most.
VETO_ALPHA = 0.05
Fitted = TypeVar("Fitted")
BetOn = TypeVar("BetOn")
_DAY_MS = 24 * 60 * 60 * 1000


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
    for fraction in _FRACTIONS:
        owned += np.exp(np.cumsum(np.log1p(fraction * bets), axis=-1))
    return owned / len(_FRACTIONS)


def e_value(differences: Values) -> float:
    """Return what is owned after the last of (bets,) bets; 1 without any."""
    return float(e_values(differences)[-1]) if len(differences) else 1.0


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


class ChallengeResult(NamedTuple, Generic[Fitted]):
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


def challenge(contest: Contest[Fitted, BetOn]) -> ChallengeResult[Fitted]:
    """Train a challenger and compare it with the champion; takes seconds to minutes."""
    if reason := contest.too_few():
        return ChallengeResult(reason, 0, 1.0)
    differences = contest.bets()
    better = e_value(differences)
    if better < 1 / ALPHA:
        return ChallengeResult("it is not shown to be better", len(differences), better)
    fitted = contest.fit()
    not_worse = e_value(contest.reference_differences(fitted))
    audited = contest.audit_differences(fitted)
    worse = None if audited is None else e_value(audited)
    reason = "" if not_worse >= 1 / ALPHA else contest.reference_reason
    if not reason and worse is not None and worse >= 1 / VETO_ALPHA:
        reason = "the audit shows that it is worse"
    return ChallengeResult(reason, len(differences), better, not_worse, worse, fitted)


class Starts:
    """Counts the starts of the last 24 hours, in a file of the store that a restart reads.

    Raises `UsageError`: the file holds no times of starts.
    """

    def __init__(self, store: Store, file: str, most: int) -> None:
        self._store, self._file = store, file
        self._most = most
        self._at_ms: list[int] = []
        try:
            self._at_ms = msgspec.json.decode(read_file(store, file), type=list[int])
        except FileNotFoundError:
            pass
        except msgspec.DecodeError as error:
            path = place_of(store, file)
            raise UsageError(f"{path}: {error}; remove it to count from 0") from error

    def next_ms(self, now_ms: int) -> int:
        """Return from when on the next start is allowed; `now_ms` or earlier if it is now."""
        recent = [at_ms for at_ms in self._at_ms if at_ms > now_ms - _DAY_MS]
        return now_ms if len(recent) < self._most else recent[-self._most] + _DAY_MS

    def begin(self, now_ms: int) -> str:
        """Count a start, if one is left; return why none may begin, "" if it may."""
        next_ms = self.next_ms(now_ms)
        if next_ms > now_ms:
            return f"no start is left for {(next_ms - now_ms) / 60_000:.0f} minutes"
        self._at_ms = [*(at_ms for at_ms in self._at_ms if at_ms > now_ms - _DAY_MS), now_ms]
        write_file(self._store, self._file, msgspec.json.encode(self._at_ms))
        return ""


class Round(NamedTuple, Generic[Fitted]):
    """What a round did.

    Attributes
    ----------
    counts
        Those of its contest.
    reason
        Why there is nothing to release; "" if there is.
    result
        None if no challenger started.
    """

    counts: Mapping[str, int]
    reason: str
    result: ChallengeResult[Fitted] | None = None


class Learner(Generic[BetOn]):
    """Starts a challenger whenever there are enough new rows.

    Parameters
    ----------
    starts
        How many may start.
    bet_on
        What a contest has of which nothing was bet on yet.
    """

    def __init__(self, starts: Starts, bet_on: BetOn) -> None:
        self._starts = starts
        self._bet_on = bet_on

    def round(
        self, contest_after: Callable[[BetOn], Contest[Fitted, BetOn]], now_ms: int
    ) -> Round[Fitted]:
        """Let a challenger bet against the champion on what is new; takes seconds to minutes.

        `contest_after` makes the contest of the rows of now, of which some were bet on.
        """
        contest = contest_after(self._bet_on)
        counts, least = contest.counts, contest.least_new
        if counts["new"] < least:
            return Round(counts, f"fewer than {least:,} of them are new")
        if reason := self._starts.begin(now_ms):
            return Round(counts, reason)
        self._bet_on = contest.bet_on
        result = challenge(contest)
        return Round(counts, result.reason, result)
