"""A challenger starts when there are enough new rows of its kind, and not too often."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from builders.impression_simulation import DAY_MS, Size, simulated_impressions
from builders.label_simulation import judged, ordinary_posts
from feedmill.filters.spam import FILTER
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.training.continual import learner as learner_module
from feedmill.training.continual.challenger import Contest, Verdict
from feedmill.training.continual.impression_contest import ImpressionContest
from feedmill.training.continual.label_contest import LabelContest
from feedmill.training.continual.learner import Learner
from feedmill.training.continual.rated_posts import rated_posts
from feedmill.training.continual.starts import Starts
from feedmill.training.ranker_recipes import ENGAGEMENT
from feedmill.training.recipes import RECIPES

HOUR_MS = 3_600_000
SHIPPED, JUDGED = FILTER.load(), judged("wave", 1)
ROWS = simulated_impressions("none", 1, Size(posts=300, authors=50, users=200, impressions=10))
ContestAfter = Callable[[Any], Contest[Any, Any]]


def of_labels(count: int) -> ContestAfter:
    rows = rated_posts(JUDGED[:count])
    return partial(LabelContest, SHIPPED, SHIPPED, RECIPES["spam"], ordinary_posts(10), rows, [])


def of_impressions(count: int) -> ContestAfter:
    rows = ROWS.where(np.arange(len(ROWS)) < count)
    champion: Any = ENGAGEMENT_RANKER.load()
    return partial(ImpressionContest, champion, ENGAGEMENT, ROWS, DAY_MS, rows)


class Kind(NamedTuple):
    """How contests of a kind are made, what nothing was bet on is, and the fewest new rows."""

    contest: Callable[[int], ContestAfter]
    nothing: Any
    least: int


KINDS = (Kind(of_labels, frozenset(), 100), Kind(of_impressions, 0, 1_000))


@pytest.fixture
def challenges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many new rows each challenger got; none is better."""
    seen: list[int] = []

    def challenge(contest: Contest[Any, Any]) -> Verdict[Any]:
        seen.append(contest.counts["new"])
        return Verdict("not better", 1, 1.0)

    monkeypatch.setattr(learner_module, "challenge", challenge)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_bet_on_once(tmp_path: Path, challenges: list[int], kind: Kind) -> None:
    learner = Learner(Starts(tmp_path, "a.starts", 9), kind.nothing)
    few = learner.round(kind.contest(kind.least - 1), 0)
    assert (few.verdict, few.counts["new"]) == (None, kind.least - 1)
    assert few.reason == f"fewer than {kind.least:,} of them are new"
    assert learner.round(kind.contest(kind.least), 1).reason == "not better"
    again = learner.round(kind.contest(kind.least), 2)
    assert (again.counts["new"], again.verdict) == (0, None)
    assert learner.round(kind.contest(2 * kind.least), 3).verdict is not None
    assert challenges == [kind.least, kind.least]


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_challengers_start_than_may(
    tmp_path: Path, challenges: list[int], kind: Kind
) -> None:
    learner = Learner(Starts(tmp_path, "a.starts", 1), kind.nothing)
    learner.round(kind.contest(kind.least), 0)
    refused = learner.round(kind.contest(2 * kind.least), HOUR_MS)
    assert refused.reason == "no start is left for 1380 minutes"
    # Its rows wait for the next start.
    assert learner.round(kind.contest(2 * kind.least), 24 * HOUR_MS).counts["new"] == kind.least
    assert len(challenges) == 2


def test_what_a_round_counts_is_told_by_name() -> None:
    labels = of_labels(100)(frozenset({"p1"})).counts
    assert (labels["labels"], labels["new"], labels["audited"]) == (100, 99, 0)
    assert labels["raters"] == len({label.source for _, one in JUDGED[:100] for label in one})
    impressions = of_impressions(1_500)(int(ROWS.at_ms[1_200])).counts
    users = ROWS.users
    assert users is not None
    assert impressions["impressions"] == 1_500
    assert impressions["users"] == len(np.unique(users[:1_500]))
    assert 299 <= impressions["new"] <= 301
