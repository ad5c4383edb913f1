"""Rates of reactions are learned from counts: near the truth, and only where there are enough."""

from collections.abc import Mapping

import numpy as np
import pytest

from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.engagement import EngagementKind
from feedmill.events.rates import RATES
from feedmill.features.counters import LONG_DWELL_MS, Counters, update
from feedmill.operations.learned_rates import (
    LEAST_REACTIONS,
    LearnedRate,
    counts_of,
    fit_strength,
    rates_of,
)

POSTS, IMPRESSIONS, SEEDS = 400, 100_000, 6
HOUR_MS, START_MS = 3_600_000, 1_700_000_000_000
REACTIONS: tuple[EngagementKind, ...] = ("reply", "share", "dwell", "hide", "report")


def counted(
    random: np.random.Generator, shown: int, rates: Mapping[EngagementKind, float]
) -> Counters:
    """The counters of a post that was shown so often within a day."""
    counters = Counters()
    for at_ms in np.sort(random.integers(24 * HOUR_MS, size=shown)).tolist():
        update(counters, "impression", START_MS + at_ms)
        update(counters, "regular impression", START_MS + at_ms)
        update(counters, "dwell", START_MS + at_ms, LONG_DWELL_MS - 1)  # too short to count
        for kind in REACTIONS:
            if random.random() < rates[kind]:
                update(counters, kind, START_MS + at_ms, LONG_DWELL_MS)
    return counters


def learned(seed: int, times: float) -> dict[str, LearnedRate]:
    """What is learned of posts whose rates are so many times the shipped ones."""
    random = np.random.default_rng(seed)
    rows = []
    for shown in random.multinomial(IMPRESSIONS, random.dirichlet(np.full(POSTS, 0.7))).tolist():
        of = {kind: (RATES[kind].base * times, RATES[kind].strength) for kind in REACTIONS}
        rates = {kind: random.beta(b * s, (1 - b) * s) for kind, (b, s) in of.items()}
        rows.append(counts_of(counted(random, shown, rates)))
    return {one.kind: one for one in rates_of(np.array(rows), RATES)}


def test_rates_thrice_the_shipped_ones_are_found_of_each_kind() -> None:
    found = [learned(seed, 3.0) for seed in range(SEEDS)]
    for kind in FURTHER_SIGNALS:
        runs = [one[kind] for one in found]
        assert all(one.is_learned for one in runs)
        true = 3 * RATES[kind].base
        assert np.median([abs(one.base - true) / true for one in runs]) <= 0.15, kind
        # Posts are shown for a day, of which decayed counts keep some hours.
        strength = np.median([one.strength for one in runs]) / RATES[kind].strength
        assert 0.6 < strength < 1.6, kind


def counts(*of: tuple[float, float]) -> np.ndarray:
    return np.array([of, of])


def test_a_kind_with_few_reactions_keeps_the_rate_in_force() -> None:
    posts = [counts((1, 100), (0, 100), (20, 100), (0, 100), (0, 100))] * 100
    now = dict.fromkeys(FURTHER_SIGNALS, RATES["dwell"])
    found = {one.kind: one for one in rates_of(np.array(posts), now)}
    assert {name for name, one in found.items() if one.is_learned} == {"dwell"}
    assert found["reply"].reactions < LEAST_REACTIONS
    assert (found["reply"].base, found["reply"].strength) == (0.085, 40.0)
    assert found["dwell"].base == 0.2


@pytest.mark.parametrize("posts", [[], [counts(*[(0, 0)] * 5)] * 3])
def test_nothing_counted_is_nothing_learned(posts: list[np.ndarray]) -> None:
    assert not any(one.is_learned for one in rates_of(np.array(posts, dtype=float), RATES))


def test_posts_that_differ_by_chance_alone_have_a_large_strength_and_no_error() -> None:
    random, shown = np.random.default_rng(1), np.full(500, 400.0)
    assert fit_strength(random.binomial(400, 0.02, 500).astype(float), shown) > 1_000
    assert fit_strength(shown, shown) == 10_000
    every = {one.kind: one for one in rates_of(np.array([counts(*[(400, 400)] * 5)] * 9), RATES)}
    assert (every["reply"].base, every["reply"].strength) == (0.999, 10_000.0)
