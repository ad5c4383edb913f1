"""Simulates reactions to the posts of a data set, few enough to be sent.

The numbers of likes, replies and shares are proportional to those of the data set. The data sets
tell neither who reacted nor when, nor who only looked: **users, delays, clicks and impressions
are simulated**. An impression and a click precede each reaction, so that a post never has more
clicks than impressions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.simulation.schedule import ENGAGEMENTS, ScheduledEvent

# No post gets more than so many times the mean; without a cap, one post of ten thousand would get a
# tenth of all reactions.
CAP = 20.0
# Users see a post within this time.
SPREAD_S = 10.0

REACTIONS: tuple[EngagementKind, ...] = ("like", "reply", "share")

# The number of users. It is a prime, so that steps of any size visit each user once.
_AUDIENCE = 10_007


def scale_to_mean(counts: npt.NDArray[np.float64], mean: float) -> float:
    """Find the factor for which `min(CAP * mean, factor * counts)` has this mean.

    If no factor is large enough, because too many counts are 0, all others get the cap.
    """
    positive = counts[counts > 0]
    if not len(positive) or mean <= 0:
        return 0.0
    cap = CAP * mean
    low, high = 0.0, cap / float(positive.min())
    for _ in range(80):
        middle = (low + high) / 2
        if float(np.minimum(cap, middle * counts).mean()) < mean:
            low = middle
        else:
            high = middle
    return high


@dataclass
class ReactionSimulator:
    """Draws the engagements of one post after the other.

    Parameters
    ----------
    factor, mean
        A post has ``min(CAP * mean, factor * counts)`` reactions; see `scale_to_mean`.
    impressions
        Mean number per post of users who look and do not react.
    run
        Part of every event id.
    rng
        The source of all randomness.
    """

    factor: float
    mean: float
    impressions: float
    run: str
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)

    def draw(
        self, post_id: str, due_s: float, reaction_counts: npt.NDArray[np.float64]
    ) -> list[ScheduledEvent]:
        """The engagements of a post that is due at `due_s`.

        `reaction_counts` has shape (3,): the data set's counts in the order of `REACTIONS`.
        """
        events: list[ScheduledEvent] = []
        total = float(reaction_counts.sum())
        expected = min(CAP * self.mean, self.factor * total)
        count = int(expected + self.rng.random())  # rounded at random, which keeps the mean
        passive = int(self.rng.poisson(self.impressions))
        users = self._users(count + passive)
        delays = self._delays(count + passive)
        if count:
            kinds = np.repeat(np.arange(3), self.rng.multinomial(count, reaction_counts / total))
            steps = self.rng.uniform(0.05, 2.0, (count, 2))
            for j in range(count):
                seen_s = due_s + float(delays[j])
                clicked_s = seen_s + float(steps[j, 0])
                reacted_s = clicked_s + float(steps[j, 1])
                user = next(users)
                events.append(self._event(seen_s, post_id, user, "impression"))
                events.append(self._event(clicked_s, post_id, user, "click"))
                events.append(self._event(reacted_s, post_id, user, REACTIONS[kinds[j]]))
        for j in range(count, count + passive):
            seen_s = due_s + float(delays[j])
            events.append(self._event(seen_s, post_id, next(users), "impression"))
        return events

    def _event(self, due_s: float, post_id: str, user: str, kind: EngagementKind) -> ScheduledEvent:
        event = Engagement(post_id, user, kind, 0, event_id=f"{self.run}-{next(self._ids)}")
        return ScheduledEvent(due_s, ENGAGEMENTS, event)

    def _delays(self, count: int) -> npt.NDArray[np.float64]:
        """Delays in seconds by a truncated exponential: mostly short, at most `SPREAD_S`."""
        fraction = 1 - np.exp(-3.0)
        delays: npt.NDArray[np.float64] = np.log1p(-fraction * self.rng.random(count))
        return delays * (-SPREAD_S / 3)

    def _users(self, count: int) -> Iterator[str]:
        """So many different users."""
        start, step = (int(x) for x in self.rng.integers(1, _AUDIENCE, 2))
        return (f"sim-{(start + step * j) % _AUDIENCE}" for j in range(count))
