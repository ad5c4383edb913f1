"""Which posts are drawn for labelling, and that the stated probabilities hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.training.label_sample import (
    draw_posts,
    inclusion_probabilities,
    systematic_sample,
    uncertainty,
)

WEIGHTS = st.lists(st.floats(0, 100), min_size=1, max_size=40)


def test_each_post_is_drawn_as_often_as_its_probability_says() -> None:
    values = np.concatenate([np.full(30, 0.02), np.linspace(0.1, 0.9, 10), [0.5, 1.0]])
    rng = np.random.default_rng(1)
    rounds = 4000
    times, stated = np.zeros(len(values)), np.zeros(len(values))
    for _ in range(rounds):
        sample = draw_posts(values, 12, 0.5, rng)
        times[sample.rows] += 1
        stated[sample.rows] = sample.probabilities
    # Of a share p in 4,000 draws the standard error is at most 0.008.
    assert np.abs(times / rounds - stated).max() < 0.035


def test_the_least_certain_posts_are_drawn_more_often() -> None:
    values = np.array([0.001, 0.2, 0.5, 0.8, 0.999])
    probabilities = inclusion_probabilities(uncertainty(values), 1)
    assert probabilities.argmax() == 2
    assert probabilities[1] == pytest.approx(probabilities[3])
    assert probabilities[0] < 0.001


@given(WEIGHTS, st.integers(0, 50))
def test_probabilities_are_in_proportion_and_add_up(given_weights: list[float], count: int) -> None:
    weights = np.array(given_weights)
    weights[weights < 1e-6] = 0
    probabilities = inclusion_probabilities(weights, count)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert probabilities.sum() == pytest.approx(min(count, np.count_nonzero(weights)), abs=1e-6)
    inside = (probabilities > 0) & (probabilities < 1)
    if inside.any():
        ratios = probabilities[inside] / weights[inside]
        assert ratios.max() == pytest.approx(ratios.min())
    assert (probabilities[weights == 0] == 0).all()


@given(WEIGHTS, st.integers(0, 50), st.integers(0, 10))
def test_a_sample_has_as_many_rows_as_the_probabilities_add_up_to(
    given_weights: list[float], count: int, seed: int
) -> None:
    probabilities = inclusion_probabilities(np.array(given_weights) + 1.0, count)
    drawn = systematic_sample(probabilities, np.random.default_rng(seed))
    assert drawn.sum() == min(count, len(given_weights))
    assert drawn[probabilities == 1].all()


def test_all_posts_are_drawn_where_there_are_fewer_than_asked_for() -> None:
    sample = draw_posts(np.array([0.1, 0.5]), 100, 0.5, np.random.default_rng(1))
    assert sample.rows.tolist() == [0, 1]
    assert sample.probabilities.tolist() == [1, 1]
