"""A challenger starts when there is enough new, and is seldom released without reason."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from builders.impression_simulation import DAY_MS, Size, simulated_impressions
from builders.label_simulation import judged, ordinary_posts
from feedmill.events.errors import UsageError
from feedmill.filters.spam import FILTER
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.training.continual import challenger as learner_module
from feedmill.training.continual.challenger import (
    ChallengeResult,
    Contest,
    Learner,
    Starts,
    e_value,
    e_values,
)
from feedmill.training.continual.impression_contest import ImpressionContest
from feedmill.training.continual.label_contest import LabelContest
from feedmill.training.continual.rated_posts import rated_posts
from feedmill.training.recipes import ENGAGEMENT, RECIPES

Values = np.ndarray
ALPHA, STREAMS, BETS = 0.01, 2000, 200
# What chance alone may add to the number of crossings.
MOST_CROSSINGS = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / STREAMS)


def crossings(streams: Values) -> float:
    """The fraction of streams that ever own 1 / alpha."""
    return float((e_values(streams).max(axis=1) >= 1 / ALPHA).mean())


def coins(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return random.choice([-1.0, 1.0], shape)


def small_noise(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return random.uniform(-0.1, 0.1, shape)


def rare_gains(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Nearly always a small loss, one time in fifty a large gain; zero on average."""
    return np.where(random.random(shape) < 0.02, 0.98, -0.02)


def rare_losses(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return -rare_gains(random, shape)


def changing(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Noise whose size follows what came before, as that of a model that learns does."""
    signs = coins(random, shape)
    size = np.where(np.cumsum(signs, axis=1) > 0, 0.9, 0.1)
    size = np.concatenate([np.full((shape[0], 1), 0.5), size[:, :-1]], axis=1)
    return signs * size


NULLS = [coins, small_noise, rare_gains, rare_losses, changing]


@pytest.mark.parametrize("draw", NULLS)
def test_streams_without_a_difference_seldom_cross(draw: Callable[..., Values]) -> None:
    streams = draw(np.random.default_rng(14), (STREAMS, BETS))
    assert crossings(streams) <= MOST_CROSSINGS


def test_a_better_challenger_crosses_soon() -> None:
    """Each rater sends five labels, half of a wave: 0.8 of Brier score gained on those."""
    random = np.random.default_rng(17)
    wave = random.binomial(5, 0.5, (STREAMS, 32)) / 5
    streams = 0.8 * wave + random.uniform(-0.05, 0.05, wave.shape)
    crossed = e_values(streams) >= 1 / ALPHA
    assert crossed[:, -1].mean() > 0.99
    first = np.argmax(crossed, axis=1) + 1
    assert np.median(first) <= 20


def test_a_small_steady_gain_is_found_in_the_end() -> None:
    streams = np.full(1, 0.01) + np.random.default_rng(18).uniform(-0.05, 0.05, 3000)
    assert e_value(streams) >= 1 / ALPHA


def test_what_is_owned_is_the_mean_over_the_fractions() -> None:
    bets = np.array([0.5, -1.0, 0.25])
    owned = [math.prod(1 + f * bet for bet in bets) for f in (0.1, 0.3, 0.6, 0.95)]
    assert e_value(bets) == pytest.approx(sum(owned) / 4)
    assert e_values(bets)[0] == pytest.approx(1 + 0.5 * 1.95 / 4)
    assert e_value(np.zeros(0)) == 1.0
    # So many bets it takes at least, as the documentation says.
    assert e_value(np.ones(8)) < 1 / ALPHA <= e_value(np.ones(9))
    # Nobody is ever out of the game.
    assert 0 < e_value(np.full(40, -1.0)) < 1e-1


@pytest.mark.parametrize("wrong", [1.01, -1.01, math.nan, math.inf])
def test_what_is_no_difference_of_bounded_losses_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        e_values(np.array([0.0, wrong]))


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

    def challenge(contest: Contest[Any, Any]) -> ChallengeResult[Any]:
        seen.append(contest.counts["new"])
        return ChallengeResult("not better", 1, 1.0)

    monkeypatch.setattr(learner_module, "challenge", challenge)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_bet_on_once(tmp_path: Path, challenges: list[int], kind: Kind) -> None:
    learner = Learner(Starts(tmp_path, "a.starts", 9), kind.nothing)
    few = learner.round(kind.contest(kind.least - 1), 0)
    assert (few.result, few.counts["new"]) == (None, kind.least - 1)
    assert few.reason == f"fewer than {kind.least:,} of them are new"
    assert learner.round(kind.contest(kind.least), 1).reason == "not better"
    again = learner.round(kind.contest(kind.least), 2)
    assert (again.counts["new"], again.result) == (0, None)
    assert learner.round(kind.contest(2 * kind.least), 3).result is not None
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


FILE = "spam.starts"


def test_so_many_starts_are_allowed_in_any_24_hours(tmp_path: Path) -> None:
    starts = Starts(tmp_path, FILE, 2)
    for now_ms in (1000, 2000):
        assert starts.next_ms(now_ms) == now_ms
        assert not starts.begin(now_ms)
    assert starts.begin(3000) == "no start is left for 1440 minutes"
    assert starts.next_ms(3000) == DAY_MS + 1000
    assert starts.next_ms(DAY_MS + 1000) == DAY_MS + 1000
    assert not starts.begin(DAY_MS + 1000)
    assert starts.next_ms(DAY_MS + 1500) == DAY_MS + 2000


def test_a_restart_counts_on(tmp_path: Path) -> None:
    assert not Starts(tmp_path, FILE, 1).begin(1000)
    assert Starts(tmp_path, FILE, 1).next_ms(2000) == DAY_MS + 1000
    assert Starts(tmp_path, FILE, 2).next_ms(2000) == 2000


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(UsageError, match=r"spam\.starts: .*remove it"):
        Starts(tmp_path, FILE, 1)
