"""From the reactions a post is known to have had to a handful that can be sent.

Likes, replies and shares follow the known ones in proportion.  Who reacted, when, and who
merely looked is not in any of the data sets: **users, delays, clicks and impressions are
simulated** here.  Each reaction comes with the impression and the click that must have gone
before it, so that a post never has more clicks than impressions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.simulation.schedule import ENGAGEMENTS, ScheduledEvent

# Nobody gets more than so many times the mean; without a cap one post of ten thousand would
# take a tenth of all reactions.
CAP = 20.0
SPREAD_S = 10.0

REACTIONS: tuple[EngagementKind, ...] = ("like", "reply", "share")

# A prime, so that walking by any step visits everybody once.
_AUDIENCE = 10_007


def scale_to_mean(known: npt.NDArray[np.float64], mean: float) -> float:
    """The factor by which `min(CAP * mean, factor * known)` has this mean.

    Where too many posts have no reaction at all for that, the rest get the cap.
    """
    positive = known[known > 0]
    if not len(positive) or mean <= 0:
        return 0.0
    cap = CAP * mean
    low, high = 0.0, cap / float(positive.min())
    for _ in range(80):
        middle = (low + high) / 2
        if float(np.minimum(cap, middle * known).mean()) < mean:
            low = middle
        else:
            high = middle
    return high


@dataclass
class Reactions:
    """Draws the engagements of one post after the other.

    Parameters
    ----------
    factor, mean
        Expected reactions are ``min(CAP * mean, factor * known)``; see `scale_to_mean`.
    impressions
        Mean number of people who look and go on, the same for every post.
    """

    factor: float
    mean: float
    impressions: float
    run: str
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)

    def draw(
        self, post_id: str, due_s: float, known: npt.NDArray[np.float64]
    ) -> list[ScheduledEvent]:
        """The engagements of a post sent at `due_s`; `known` are counts in order of `REACTIONS`."""
        events: list[ScheduledEvent] = []
        total = float(known.sum())
        expected = min(CAP * self.mean, self.factor * total)
        count = int(expected + self.rng.random())  # keeps the mean, also below one
        passers = int(self.rng.poisson(self.impressions))
        users = self._users(count + passers)
        delays = self._delays(count + passers)
        if count:
            kinds = np.repeat(np.arange(3), self.rng.multinomial(count, known / total))
            steps = self.rng.uniform(0.05, 2.0, (count, 2))
            for j in range(count):
                seen = due_s + float(delays[j])
                clicked = seen + float(steps[j, 0])
                user = next(users)
                events.append(self._event(seen, post_id, user, "impression"))
                events.append(self._event(clicked, post_id, user, "click"))
                reacted = clicked + float(steps[j, 1])
                events.append(self._event(reacted, post_id, user, REACTIONS[kinds[j]]))
        for j in range(count, count + passers):
            seen = due_s + float(delays[j])
            events.append(self._event(seen, post_id, next(users), "impression"))
        return events

    def _event(self, due_s: float, post_id: str, user: str, kind: EngagementKind) -> ScheduledEvent:
        event = Engagement(post_id, user, kind, 0, event_id=f"{self.run}-{next(self._ids)}")
        return ScheduledEvent(due_s, ENGAGEMENTS, event)

    def _delays(self, count: int) -> npt.NDArray[np.float64]:
        """Most come soon, none after `SPREAD_S`: a truncated exponential."""
        share = 1 - np.exp(-3.0)
        delays: npt.NDArray[np.float64] = np.log1p(-share * self.rng.random(count))
        return delays * (-SPREAD_S / 3)

    def _users(self, count: int) -> Iterator[str]:
        """Different people of the simulated audience."""
        start, step = (int(x) for x in self.rng.integers(1, _AUDIENCE, 2))
        return (f"sim-{(start + step * j) % _AUDIENCE}" for j in range(count))
