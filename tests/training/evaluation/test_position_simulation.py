"""The simulation of position bias, on invented arms."""

from __future__ import annotations

import numpy as np
import pytest

from feedmill.training.datasets.headline_tests import Arms
from feedmill.training.evaluation.position_simulation import Simulation, page, simulate


def invented_arms(count: int) -> Arms:
    random = np.random.default_rng(2)
    impressions = np.full(count, 4_000)
    clicks = random.binomial(impressions, random.beta(3, 150, count))
    tests, weeks = [f"test-{i // 4}" for i in range(count)], np.full(count, 201401)
    return Arms([""] * count, tests, impressions, clicks, weeks)


def simulated(planted: np.ndarray, rounds: int = 3) -> Simulation:
    return simulate(invented_arms(4_000), planted, rounds, 1_000, np.random.default_rng(7))


@pytest.mark.parametrize("steepness", [0.5, 1.0])
def test_the_curve_is_recovered_and_the_ranking_with_it_is_better(steepness: float) -> None:
    found = simulated((1.0 + np.arange(10)) ** -steepness)
    assert found.largest_error < 0.1
    assert found.low > 0
    assert found.low < found.gain < found.high
    assert found.gain == pytest.approx(found.with_curve - found.without)


def test_without_position_bias_there_is_nothing_to_gain() -> None:
    found = simulated(np.ones(10))
    assert found.low < 0 < found.high or found.gain == pytest.approx(0, abs=0.002)


def test_the_page_has_a_row_for_each_setting() -> None:
    text = page(invented_arms(400))
    assert text.count("| (1 + position)^-") == 4
    assert "simulation" in text
