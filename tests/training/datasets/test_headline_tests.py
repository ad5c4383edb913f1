from pathlib import Path

import numpy as np

from builders.ranker_datasets import write_headline_tests
from feedmill.training.datasets.headline_tests import (
    Arms,
    after_impressions,
    in_test_split,
    read_arms,
    significant_pairs,
)


def arms(*clicks: int, impressions: int = 400) -> Arms:
    count = len(clicks)
    texts = [f"headline {i}" for i in range(count)]
    weeks = np.full(count, 201401)
    return Arms(texts, ["t"] * count, np.full(count, impressions), np.array(clicks), weeks)


def test_impressions_and_clicks_are_divided_between_what_is_seen_and_the_rest() -> None:
    seen = np.arange(50)
    drawn = after_impressions(arms(*[30] * 50), seen, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn.impressions, seen)
    assert (drawn.clicks <= drawn.impressions).all()
    assert drawn.clicks.sum() > 0
    np.testing.assert_array_equal(drawn.impressions + drawn.rest, 400)
    np.testing.assert_allclose(drawn.clicks + drawn.rate * drawn.rest, 30)


def test_only_pairs_whose_rates_differ_for_certain_count_the_better_first() -> None:
    assert significant_pairs(arms(20, 22, 100)).tolist() == [[2, 0], [2, 1]]
    assert significant_pairs(arms(20, 21, 22)).shape == (0, 2)


def test_arms_of_two_tests_are_no_pair() -> None:
    counts = (np.full(2, 400), np.array([10, 200]), np.full(2, 201401))
    assert not len(significant_pairs(Arms(["a", "b"], ["t", "u"], *counts)))


def test_arms_that_share_a_headline_are_one_and_tests_are_not_divided(tmp_path: Path) -> None:
    write_headline_tests(tmp_path, by_text=True, pictures=2)
    read = read_arms(tmp_path)
    assert len(read) == 600
    assert set(read.impressions.tolist()) == {6_000}
    assert read.weeks.min() == 201400
    tests = np.array(read.tests)
    assert set(tests[in_test_split(read)]).isdisjoint(tests[~in_test_split(read)])
    assert 0.1 < in_test_split(read).mean() < 0.3
