"""Upworthy's randomised headline tests: the arms of each test with their impressions and clicks."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.features.media import MediaKinds
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import (
    EDITION,
    LabelledPosts,
    read_csv_rows,
    splits_of,
)

FILE = "engagement_upworthy"
FAMILY = "upworthy"
# Which rows test a model, as a card states it.
SPLIT_RULE = f"{FAMILY}, by clickability_test_id, {EDITION}"


@dataclass(frozen=True)
class Arms:
    """Arms of headline tests.

    Attributes
    ----------
    texts, tests
        The headline of each arm, and the test that it belongs to.
    impressions
        (arms,) int64; float64 where impressions count as much as their position is looked at.
    clicks
        (arms,) int64.
    weeks
        (arms,) int64: the year and week of the test, as 201446; or anything that rises in time.
    media
        (arms,) the kinds of media; None where all are unknown, as in headline tests.
    """

    texts: list[str]
    tests: list[str]
    impressions: npt.NDArray[Any]
    clicks: npt.NDArray[np.int64]
    weeks: npt.NDArray[np.int64]
    media: MediaKinds | None = None

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
            self.weeks[kept],
            None if self.media is None else self.media[kept],
        )


def read_arms(folder: Path) -> Arms:
    """Read the arms of all tests; those of one test that share a headline are one arm.

    They differ by their picture.  Raises `UsageError` where the file is missing.
    """
    merged: dict[tuple[str, str], list[int]] = {}
    for row in read_csv_rows(folder, FILE):
        headline = html.unescape(row["headline"]).strip()
        if headline and int(row["impressions"]) > 0:
            key = (row["clickability_test_id"], headline)
            arm = merged.setdefault(key, [0, 0, int(row["test_week"])])
            arm[0] += int(row["impressions"])
            arm[1] += int(row["clicks"])
    counts = np.array([*merged.values()], dtype=np.int64).reshape(-1, 3)
    return Arms([text for _, text in merged], [test for test, _ in merged], *counts.T)


def in_test_split(arms: Arms) -> Mask:
    """Return which arms test a model and never train one: (arms,); a test is never divided."""
    return np.array([split == "test" for split in splits_of(FAMILY, arms.tests)], dtype=np.bool_)


class SeenArms(NamedTuple):
    """Arms after their first impressions: (arms,) float64 each.

    Attributes
    ----------
    impressions, clicks
        What was seen.
    rest, rate
        The impressions of the rest of the arm, and their click rate: the truth to predict.
    """

    impressions: Values
    clicks: Values
    rest: Values
    rate: Values


def after_impressions(
    arms: Arms, seen: npt.NDArray[np.int64], random: np.random.Generator
) -> SeenArms:
    """Draw so many impressions of each arm without replacement; `seen` are less than all."""
    clicked = random.hypergeometric(arms.clicks, arms.impressions - arms.clicks, seen)
    rest = (arms.impressions - seen).astype(np.float64)
    rate = (arms.clicks - clicked) / rest
    return SeenArms(seen.astype(np.float64), clicked.astype(np.float64), rest, rate)


def posts_of_arms(arms: Arms) -> list[Post]:
    """Return a post for each arm: its id names the test, its time is that of the test's week."""
    return [
        Post(f"{test}-{row}", "upworthy", int(week), text)
        for row, (test, week, text) in enumerate(
            zip(arms.tests, arms.weeks, arms.texts, strict=True)
        )
    ]


def labelled_arms(arms: Arms) -> LabelledPosts:
    """Return the arms as posts, each labelled by its number of clicks, grouped by test."""
    groups = [f"{FAMILY}|{test}" for test in arms.tests]
    splits = np.array(splits_of(FAMILY, arms.tests), dtype=np.str_)
    return LabelledPosts(
        FAMILY, posts_of_arms(arms), arms.clicks.astype(np.float64), groups, splits
    )


def significant_pairs(arms: Arms) -> npt.NDArray[np.int64]:
    """Return the pairs of arms of one test whose click rates differ at the 5 % level.

    (pairs, 2) int64, the arm with the higher rate first.
    """
    rates = arms.clicks / arms.impressions
    pairs = [
        (first, second) if rates[first] > rates[second] else (second, first)
        for first, second in _pairs(arms)
        if _differ(arms, first, second)
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


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
