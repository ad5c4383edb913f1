"""A simulation: arms of headline tests at random positions of feeds that are examined by a curve.

No public log has positions with enough clicks.  Here the click rates are those that Upworthy
measured, and the examination curve is planted: only what users look at is simulated.

    python -m feedmill.training.evaluation.position_simulation DATA PAGE    # docs/position-bias.md
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.training.arrays import Values
from feedmill.training.datasets.headline_tests import Arms, in_test_split, read_arms
from feedmill.training.position_bias import fit_examination, rates_of

Indexes = npt.NDArray[np.int64]

_BOOTSTRAP = 1_000
_POSITIONS = 10
# How steep a planted curve is, in how many rounds an arm is shown, and to how many users in each.
_SETTINGS = ((0.5, 3, 300), (0.5, 3, 1_000), (1.0, 3, 300), (1.0, 3, 1_000))


class Simulation(NamedTuple):
    """What came of it.

    Attributes
    ----------
    planted, recovered
        (positions,): the examination of each position.
    with_curve, without
        The fraction of pairs of one test in the order of their true rates, by rates per examined
        impression and by plain rates.
    gain, low, high
        Their difference, and its 95 % interval by a bootstrap over tests.
    """

    planted: Values
    recovered: Values
    with_curve: float
    without: float
    gain: float
    low: float
    high: float

    @property
    def largest_error(self) -> float:
        """The largest error of the curve, relative to what was planted."""
        return float(np.abs(self.recovered / self.planted - 1).max())


def simulate(
    arms: Arms, planted: Values, rounds: int, users: int, random: np.random.Generator
) -> Simulation:
    """Show all arms in feeds of as many positions as `planted` has, and rank them by their clicks.

    In each of the `rounds` an arm has a random position, and `users` see it there.
    """
    truth = arms.clicks / arms.impressions
    impressions = np.zeros((len(arms), len(planted)))
    clicks = np.zeros_like(impressions)
    every = np.arange(len(arms))
    for _ in range(rounds):
        positions = random.permutation(every) % len(planted)
        impressions[every, positions] += users
        clicks[every, positions] += random.binomial(users, truth * planted[positions])
    recovered = fit_examination(impressions, clicks)
    tests = np.unique(np.array(arms.tests), return_inverse=True)[1]
    first, second = _pairs(tests, truth)
    hits = [
        _in_order(scores, truth, first, second)
        for scores in (
            rates_of(impressions, clicks, recovered),
            rates_of(impressions, clicks, np.ones_like(planted)),
        )
    ]
    low, high = _interval(hits[0] - hits[1], tests[first], random)
    return Simulation(
        planted,
        recovered,
        float(hits[0].mean()),
        float(hits[1].mean()),
        float((hits[0] - hits[1]).mean()),
        low,
        high,
    )


def _pairs(tests: Indexes, truth: Values) -> tuple[Indexes, Indexes]:
    """Return both members of each pair of one test whose true rates differ."""
    found = [
        (first, second)
        for members in np.split(np.argsort(tests, kind="stable"), np.bincount(tests).cumsum()[:-1])
        for at, first in enumerate(members.tolist())
        for second in members[at + 1 :].tolist()
        if truth[first] != truth[second]
    ]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _in_order(scores: Values, truth: Values, first: Indexes, second: Indexes) -> Values:
    """Return 1 for each pair in the true order, 0.5 for a tie, else 0."""
    agree = np.sign(scores[first] - scores[second]) * np.sign(truth[first] - truth[second])
    return np.asarray((agree + 1) / 2, dtype=np.float64)


def _interval(gains: Values, tests: Indexes, random: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % interval of the mean of pairs, tests drawn with replacement."""
    pairs, sums = np.bincount(tests), np.bincount(tests, gains)
    drawn = random.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=_BOOTSTRAP)
    means = (drawn @ sums) / (drawn @ pairs)
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return low, high


def page(arms: Arms) -> str:
    """Return docs/position-bias.md."""
    rows = []
    for steepness, rounds, users in _SETTINGS:
        planted: Values = (1.0 + np.arange(_POSITIONS, dtype=np.float64)) ** -steepness
        found = simulate(arms, planted, rounds, users, np.random.default_rng(7))
        rows.append(
            f"| (1 + position)^-{steepness:g} | {rounds}, {users:,} |"
            f" {100 * found.largest_error:.1f} % | {found.without:.3f} | {found.with_curve:.3f} |"
            f" {found.gain:.3f} ({found.low:.3f} to {found.high:.3f}) |"
        )
    return _PAGE.format(arms=f"{len(arms):,}", rows="\n".join(rows))


_PAGE = """\
# Position bias

Users look at the top of a feed more than at its end, so a post at the end gets fewer clicks for
the same impressions. The *examination curve* says how much a position is looked at, compared with
the first one. An impression then counts as much as its position is looked at, and clicks per
impression become clicks per examined impression (inverse propensity weighting).

    feedmill examination        # from the topic engagements: FEEDMILL_EXAMINATION=1,0.71,…

The command needs `position` in the impressions and clicks of the product. With its result in
`FEEDMILL_EXAMINATION` every worker weighs each impression by its position when it counts it. What
was counted before keeps its weight. An impression without a position counts whole, and one beyond
the curve like its last position. All feeds have one curve.

The model is P(click) = examination of the position * rate of the post. Each post has a rate of
its own, so a ranking that puts good posts first makes the curve no steeper. Only posts that were
shown at several positions tell the curve: a ranking that moves, as with age or new posts, shows
them so.

## A simulation

No public log has positions with enough clicks. So this is a **simulation**: {arms} arms of
Upworthy's headline tests (none of the rows that test models) have the click rates that were
measured; the curve is planted. In each round an arm has a random one of ten positions, where so
many users see it. "Pairs" is the fraction of pairs of one test that are in the order of their
true rates when arms are ranked by their clicks; the interval is of 1,000 bootstraps over tests.

| planted curve | rounds, users in each | largest error | pairs without it | with it | gain (95 %) |
|---|--:|--:|--:|--:|--:|
{rows}

Written by
`python -m feedmill.training.evaluation.position_simulation DATA docs/position-bias.md`.
"""


if __name__ == "__main__":
    all_arms = read_arms(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(page(all_arms.where(~in_test_split(all_arms))), "utf-8")
