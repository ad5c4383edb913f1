"""Upworthy's randomised headline tests: the arms of each test with their impressions and clicks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import read_csv_rows
from feedmill.training.datasets.split import split_of_first_edition

FILE = "engagement_upworthy"
DRAWS = 6


@dataclass(frozen=True)
class Arms:
    """Arms of headline tests.

    Attributes
    ----------
    texts, tests
        The headline of each arm, and the test that it belongs to.
    impressions, clicks
        (arms,) int64.
    """

    texts: list[str]
    tests: list[str]
    impressions: npt.NDArray[np.int64]
    clicks: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, mask: Mask) -> Arms:
        """Return the arms where the (arms,) `mask` is true."""
        kept = np.flatnonzero(mask)
        return Arms(
            [self.texts[i] for i in kept],
            [self.tests[i] for i in kept],
            self.impressions[kept],
            self.clicks[kept],
        )


def read_arms(folder: Path) -> tuple[Arms, Arms]:
    """Return the arms to train on and those to evaluate on; a test is never split.

    Raises `UsageError` where the file is missing.
    """
    rows = read_csv_rows(folder, FILE)
    arms = Arms(
        [r["headline"] for r in rows],
        [r["clickability_test_id"] for r in rows],
        np.array([int(r["impressions"]) for r in rows], dtype=np.int64),
        np.array([int(r["clicks"]) for r in rows], dtype=np.int64),
    )
    arms = arms.where(arms.impressions > 0)
    in_test = np.array([split_of_first_edition("upworthy", test) == "test" for test in arms.tests])
    return arms.where(~in_test), arms.where(in_test)


class ThinnedArms(NamedTuple):
    """Arms of which a few impressions were drawn, each `DRAWS` times; all (DRAWS * arms,) float64.

    Attributes
    ----------
    impressions, clicks
        What was drawn.
    rest, rate
        The impressions of the rest of the arm, and their click rate: the truth to predict.
    """

    impressions: Values
    clicks: Values
    rest: Values
    rate: Values


def thinned(arms: Arms, random: np.random.Generator) -> ThinnedArms:
    """Draw a few impressions of each arm, without replacement, `DRAWS` times."""
    impressions = np.tile(arms.impressions, DRAWS)
    clicks = np.tile(arms.clicks, DRAWS)
    log_limit = np.log1p(impressions * 0.8)
    drawn = random.uniform(0, 1, len(log_limit)) * log_limit
    seen = np.floor(np.expm1(drawn)).astype(np.int64)
    clicked = random.hypergeometric(clicks, impressions - clicks, seen)
    rest = (impressions - seen).astype(np.float64)
    rate = (clicks - clicked) / rest
    return ThinnedArms(seen.astype(np.float64), clicked.astype(np.float64), rest, rate)


def pairs_in_order(arms: Arms, scores: Values) -> Mask:
    """Return whether `scores` put each pair of arms in the order of their click rates.

    Only pairs of one test count, of different texts, whose rates differ at the 5 % level.

    `scores` are (arms,); returns (pairs,).
    """
    rates = arms.clicks / arms.impressions
    in_order = [
        (scores[first] > scores[second]) == (rates[first] > rates[second])
        for first, second in _pairs(arms)
        if arms.texts[first] != arms.texts[second] and _differ(arms, first, second)
    ]
    return np.array(in_order, dtype=np.bool_)


def _pairs(arms: Arms) -> Iterator[tuple[int, int]]:
    """Yield each pair of arms of one test."""
    by_test: dict[str, list[int]] = {}
    for index, test in enumerate(arms.tests):
        by_test.setdefault(test, []).append(index)
    for members in by_test.values():
        for position, first in enumerate(members):
            for second in members[position + 1 :]:
                yield first, second


def _differ(arms: Arms, first: int, second: int) -> bool:
    """Two-proportion z-test at the 5 % level."""
    clicks, impressions = arms.clicks[[first, second]], arms.impressions[[first, second]]
    pooled = clicks.sum() / impressions.sum()
    error = np.sqrt(pooled * (1 - pooled) * (1 / impressions).sum())
    gap = abs(clicks[0] / impressions[0] - clicks[1] / impressions[1])
    return bool(gap > 1.96 * error > 0)
