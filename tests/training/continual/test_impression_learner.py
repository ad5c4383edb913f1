"""A challenger of engagement starts when there are enough new impressions, and not too often."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.training.continual import impression_learner
from feedmill.training.continual.impression_challenger import ImpressionVerdict, Window
from feedmill.training.continual.impression_learner import MIN_FRESH, ImpressionLearner
from feedmill.training.continual.starts import Starts
from feedmill.training.evaluation.impression_simulation import (
    DAY_MS,
    Size,
    simulated_impressions,
)
from feedmill.training.ranker_recipes import ENGAGEMENT

ROWS = simulated_impressions("none", 1, Size(posts=300, authors=50, users=200, impressions=10))
CHAMPION = cast(ExpectedClicks, ENGAGEMENT_RANKER.load())


def first(count: int) -> Any:
    return ROWS.where(np.arange(len(ROWS)) < count)


@pytest.fixture
def challenges(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many rows, and how many new ones, each challenger got; none is better."""
    seen: list[tuple[int, int]] = []

    def challenge(
        _champion: Any, _recipe: Any, window: Window, _reference: Any
    ) -> ImpressionVerdict:
        fresh = int((window.rows.at_ms >= window.fresh_from_ms).sum())
        seen.append((len(window.rows), fresh))
        return ImpressionVerdict("not better", 1, 1.0)

    monkeypatch.setattr(impression_learner, "challenge_impressions", challenge)
    return seen


def learner_of(folder: Path, most: int) -> ImpressionLearner:
    starts = Starts(folder, "engagement.starts", most)
    return ImpressionLearner(ENGAGEMENT, ROWS, DAY_MS, starts)


def test_each_impression_is_bet_on_once(tmp_path: Path, challenges: list[tuple[int, int]]) -> None:
    learner = learner_of(tmp_path, 9)
    few = learner.round(CHAMPION, first(MIN_FRESH - 1), 0)
    assert (few.verdict, few.fresh) == (None, MIN_FRESH - 1)
    assert few.reason == "fewer than 1,000 of them are new"
    assert learner.round(CHAMPION, first(1_200), 1).reason == "not better"
    again = learner.round(CHAMPION, first(1_500), 2)
    assert (again.impressions, again.fresh, again.verdict) == (1_500, 300, None)
    assert again.users == len(np.unique(first(1_500).users))
    assert learner.round(CHAMPION, first(2_200), 3).verdict is not None
    assert challenges == [(1_200, 1_200), (2_200, 1_000)]


def test_no_more_challengers_start_than_may(
    tmp_path: Path, challenges: list[tuple[int, int]]
) -> None:
    learner = learner_of(tmp_path, 1)
    learner.round(CHAMPION, first(1_000), 0)
    refused = learner.round(CHAMPION, first(2_000), 3_600_000)
    assert refused.reason == "no start is left for 1380 minutes"
    # Its impressions wait for the next start.
    assert learner.round(CHAMPION, first(2_000), DAY_MS).fresh == 1_000
    assert len(challenges) == 2
