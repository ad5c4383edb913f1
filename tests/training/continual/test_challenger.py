"""A challenger starts when there is enough new, and is seldom released without reason."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from feedmill.training.continual.challenger import (
    e_value,
    e_values,
)

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
