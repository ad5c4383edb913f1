"""One round of continual learning: whether a challenger may start, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from feedmill.training.continual.challenger import Contest, Verdict, challenge
from feedmill.training.continual.starts import Starts

Fitted = TypeVar("Fitted")
BetOn = TypeVar("BetOn")


class Round(NamedTuple, Generic[Fitted]):
    """What a round did.

    Attributes
    ----------
    counts
        Those of its contest.
    reason
        Why there is nothing to release; "" if there is.
    verdict
        None if no challenger started.
    """

    counts: Mapping[str, int]
    reason: str
    verdict: Verdict[Fitted] | None = None


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
        verdict = challenge(contest)
        return Round(counts, verdict.reason, verdict)
