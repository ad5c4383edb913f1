"""Whether a candidate is surely within its limits, or surely beyond one, by the posts that it saw.

Let d be 1 for a post that the candidate alone hides, -1 for one that the version in force alone
hides, and else 0.  Somebody bets on "the mean of d is above the limit", and somebody on "below".
What each owns exceeds 1 / alpha with a probability of alpha at most where the bet is wrong, however
often one looks (Ville 1939), and with fixed fractions it follows from three counts.  So it needs
no state, and the counts of several workers add up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from feedmill.events.instance import ComparedPosts
from feedmill.events.release import Candidate

# Of wrong verdicts about one limit.
ALPHA = 0.005
# The parts of what one owns that are bet, each with a quarter of the money.
_FRACTIONS = np.array([0.1, 0.3, 0.6, 0.95])


class Evidence(NamedTuple):
    """What those own who bet that a share is above a limit, and below it: e-values, as logs."""

    above: float
    below: float

    @property
    def is_above(self) -> bool:
        return self.above >= math.log(1 / ALPHA)

    @property
    def is_below(self) -> bool:
        return self.below >= math.log(1 / ALPHA)


def evidence(posts: int, more: int, less: int, limit: float) -> Evidence:
    """Weigh that of `posts` the candidate alone does something to `more`, the other to `less`."""
    counts = np.array([more, less, posts - more - less])
    gains = np.array([1.0, -1.0, 0.0]) - limit
    owned = [
        counts @ np.log1p(np.outer(scaled, _FRACTIONS))
        for scaled in (gains / (1 + limit), -gains / (1 + limit))
    ]
    above, below = (float(np.logaddexp.reduce(logs) - np.log(len(_FRACTIONS))) for logs in owned)
    return Evidence(above, below)


class Verdict(NamedTuple):
    """Whether a candidate is within its limits, None while nobody knows; and why, a sentence."""

    is_within: bool | None
    reason: str


def verdict(candidate: Candidate, compared: ComparedPosts) -> Verdict:
    """Judge a candidate by the posts that both versions judged."""
    limits = candidate.may_hide, candidate.may_demote
    hidden = compared.hidden_more, compared.hidden_less
    stopped = compared.stopped_more, compared.stopped_less
    found = [
        evidence(compared.posts, *counts, limit)
        for counts, limit in zip((hidden, stopped), limits, strict=True)
    ]
    said = (
        f"of {compared.posts:,} posts that both versions judged it hides"
        f" {_share(hidden, compared.posts)} and demotes or hides {_share(stopped, compared.posts)}"
    )
    for what, one, limit in zip(("hide", "demote or hide"), found, limits, strict=True):
        if one.is_above:
            return Verdict(False, f"{said}: it is sure to {what} more than {limit:.1%} beyond")
    if all(one.is_below for one in found):
        return Verdict(True, f"{said}: surely below its limits")
    return Verdict(None, f"{said}: neither surely below nor above its limits")


def _share(counts: tuple[int, int], posts: int) -> str:
    more, less = counts
    share = (more - less) / max(posts, 1)
    return f"{abs(share):.1%} {'more' if share >= 0 else 'fewer'}"
