"""Rates of reactions are learned from counts: near the truth, and only where there are enough."""

import numpy as np
import pytest

from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.rates import RATES
from feedmill.operations.learned_rates import LEAST_REACTIONS, fit_rate, rates_of

POSTS, IMPRESSIONS, SEEDS = 400, 100_000, 20


def counts(seed: int, times: float) -> list[tuple[tuple[float, float], ...]]:
    """Reactions and impressions of posts whose rates are so many times the shipped ones."""
    rng = np.random.default_rng(seed)
    shown = rng.multinomial(IMPRESSIONS, rng.dirichlet(np.full(POSTS, 0.7)))
    columns = []
    for name in FURTHER_SIGNALS:
        base, strength = RATES[name].base * times, RATES[name].strength
        true = rng.beta(base * strength, (1 - base) * strength, POSTS)
        columns.append([*zip(rng.binomial(shown, true).tolist(), shown.tolist(), strict=True)])
    return [*zip(*columns, strict=True)]


@pytest.mark.parametrize("times", [1 / 3, 3])
def test_rates_far_from_the_shipped_ones_are_found(times: float) -> None:
    errors, strengths = [], []
    for seed in range(SEEDS):
        for one in rates_of(counts(seed, times), RATES):
            true = times * RATES[one.kind].base
            if one.is_learned:
                errors.append(abs(one.base - true) / true)
                strengths.append(one.strength / RATES[one.kind].strength)
    assert len(errors) > SEEDS
    assert np.median(errors) <= 0.15
    assert 0.6 < np.median(strengths) < 1.6


def test_a_kind_with_few_reactions_keeps_the_rate_in_force() -> None:
    posts = [((1.0, 100.0), (0.0, 100.0), (20.0, 100.0), (0.0, 100.0), (0.0, 100.0))] * 100
    now = dict.fromkeys(FURTHER_SIGNALS, RATES["dwell"])
    found = {one.kind: one for one in rates_of(posts, now)}
    assert {name for name, one in found.items() if one.is_learned} == {"dwell"}
    assert found["reply"].reactions < LEAST_REACTIONS
    assert (found["reply"].base, found["reply"].strength) == (0.085, 40.0)
    assert found["dwell"].base == 0.2


def test_nothing_counted_is_nothing_learned() -> None:
    assert not any(one.is_learned for one in rates_of([], RATES))
    assert not any(one.is_learned for one in rates_of([((0.0, 0.0),) * 5] * 3, RATES))


def test_posts_that_differ_by_chance_alone_have_a_large_strength_and_no_error() -> None:
    rng = np.random.default_rng(1)
    shown = np.full(500, 400.0)
    rate = fit_rate(rng.binomial(400, 0.02, 500).astype(float), shown)
    assert rate.strength > 1_000
    every = fit_rate(shown, shown)
    assert (every.base, every.strength) == (0.999, 10_000.0)
