"""Values by the hour of the day, and the stability index of two of them."""

import numpy as np
import pytest
from scipy import stats

from feedmill.models.daily_profile import BINS, DailyProfile, bins_of, stability_index


def counts_of(values: object) -> np.ndarray:
    return np.bincount(bins_of(np.asarray(values)), minlength=BINS).astype(float)


def test_zero_and_one_are_in_bins_of_their_own() -> None:
    assert bins_of([0.0, 1.0, 0.5]).tolist()[:2] == [0, BINS - 1]
    assert 0 < bins_of([0.5])[0] < BINS - 1


def test_mid_ranks_are_those_of_a_rank_test() -> None:
    random = np.random.default_rng(1)
    before, now = random.beta(1, 4, 3000), random.beta(2, 4, 2000)
    profile = DailyProfile()
    profile.add_hour(5, counts_of(before))
    mean = profile.mid_ranks(5)[bins_of(now)].mean()
    # As Mann and Whitney count pairs, of the values that bins leave.
    area = stats.mannwhitneyu(bins_of(now), bins_of(before)).statistic / (len(now) * len(before))
    assert mean == pytest.approx(area)


def test_mid_ranks_of_the_same_values_have_the_mean_a_half() -> None:
    counts = counts_of(np.random.default_rng(2).random(500))
    profile = DailyProfile()
    profile.add_hour(0, counts)
    assert profile.mid_ranks(0) @ counts / counts.sum() == pytest.approx(0.5)


def test_older_days_count_less_and_hours_stay_apart() -> None:
    profile = DailyProfile()
    profile.add_hour(3, counts_of([0.0] * 100))
    profile.add_hour(3, counts_of([1.0] * 100))
    profile.add_hour(4, counts_of([1.0] * 7))
    assert profile.counts[3, 0] < profile.counts[3, -1] == 100
    assert (profile.total(4), profile.total(5)) == (7, 0)


def test_the_index_of_equal_distributions_is_as_small_as_its_theory_says() -> None:
    random = np.random.default_rng(3)
    found = [
        stability_index(counts_of(random.beta(1, 3, 1000)), counts_of(random.beta(1, 3, 1000)))
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(9 * 2 / 1000, rel=0.15)


def test_the_index_sees_another_spread_around_the_same_middle() -> None:
    random = np.random.default_rng(4)
    narrow, wide = random.beta(20, 20, 2000), random.beta(0.5, 0.5, 2000)
    assert stability_index(counts_of(wide), counts_of(narrow)) > 1


def test_a_profile_refuses_counts_of_another_shape() -> None:
    with pytest.raises(ValueError, match="24"):
        DailyProfile([[1.0, 2.0]])
