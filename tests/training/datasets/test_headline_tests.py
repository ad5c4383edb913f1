from __future__ import annotations

import numpy as np

from feedmill.training.datasets.headline_tests import DRAWS, Arms, pairs_in_order, thinned


def arms(*clicks: int, impressions: int = 400) -> Arms:
    count = len(clicks)
    texts = [f"headline {i}" for i in range(count)]
    return Arms(texts, ["t"] * count, np.full(count, impressions), np.array(clicks))


def test_thinning_divides_impressions_and_clicks_between_what_is_seen_and_the_rest() -> None:
    drawn = thinned(arms(*[30] * 50), np.random.default_rng(1))
    assert drawn.impressions.shape == (50 * DRAWS,)
    assert (drawn.clicks <= drawn.impressions).all()
    assert (drawn.rest > 0).all()
    np.testing.assert_array_equal(drawn.impressions + drawn.rest, 400)
    np.testing.assert_allclose(drawn.clicks + drawn.rate * drawn.rest, 30)


def test_only_pairs_whose_rates_differ_for_certain_count() -> None:
    scores = np.array([0.1, 0.2, 0.3])
    np.testing.assert_array_equal(pairs_in_order(arms(20, 22, 100), scores), [True, True])
    np.testing.assert_array_equal(pairs_in_order(arms(100, 22, 20), scores), [False, False])
    assert not len(pairs_in_order(arms(20, 21, 22), scores))


def test_arms_of_two_tests_or_of_one_text_are_no_pair() -> None:
    of_two_tests = Arms(["a", "b"], ["t", "u"], np.full(2, 400), np.array([10, 200]))
    of_one_text = Arms(["a", "a"], ["t", "t"], np.full(2, 400), np.array([10, 200]))
    assert not len(pairs_in_order(of_two_tests, np.zeros(2)))
    assert not len(pairs_in_order(of_one_text, np.zeros(2)))
