import numpy as np
import pytest

from feedmill.training.fitting.calibration import (
    LENGTHS,
    RawScores,
    choose_thresholds,
    fit_slope,
    learned_lengths,
    thresholds,
)

EVERY_LENGTH = np.ones(len(LENGTHS) + 1, dtype=np.bool_)


def scored(count: int, characters: int, low: float = 0.0) -> RawScores:
    raw = low + np.arange(count) / count
    return RawScores(raw, np.full(count, characters))


def test_the_worst_source_of_each_length_chooses_its_threshold() -> None:
    sources = [scored(1_000, 50), scored(1_000, 50, 5.0), scored(1_000, 300, -2.0)]
    chosen = thresholds(sources, 0.01, EVERY_LENGTH)
    assert len(chosen) == len(LENGTHS) + 1
    assert chosen[0] == pytest.approx(5.99, abs=0.01)
    assert chosen[2] == pytest.approx(-1.01, abs=0.01)


def test_a_length_with_few_posts_takes_over_the_threshold_of_the_next_shorter_one() -> None:
    few = RawScores(np.full(10, 99.0), np.full(10, 150))
    chosen = thresholds([scored(1_000, 50), few], 0.01, EVERY_LENGTH)
    assert chosen[1] == chosen[0]


def test_a_length_that_was_not_learned_has_no_lower_threshold_than_shorter_ones() -> None:
    sources = [scored(1_000, 50), scored(1_000, 150, -1.0), scored(1_000, 300, 2.0)]
    sources.append(scored(1_000, 900, -3.0))
    assert (np.diff(thresholds(sources, 0.01, EVERY_LENGTH)) > 0).tolist() == [False, True, False]
    # 50 violating posts to 100 characters, 49 to 200, 50 to 400, none longer.
    learned = learned_lengths(np.repeat([100, 101, 400], [50, 49, 50]))
    assert learned.tolist() == [True, False, True, False]
    chosen = thresholds(sources, 0.01, learned)
    assert chosen[1] == chosen[0] < chosen[2] == chosen[3]


def test_no_more_than_the_rates_are_demoted_and_hidden() -> None:
    ordinary = [scored(10_000, 50), scored(10_000, 300, -1.0)]
    calibrator = choose_thresholds(ordinary, 5.0, (0.02, 0.002), 1.0, EVERY_LENGTH)
    for source in ordinary:
        values = calibrator.value(source.raw, source.characters)
        assert (values > 0.6001).mean() <= 0.02
        assert (values >= 0.9001).mean() <= 0.0021


def test_the_slope_is_the_one_that_labels_call_for_however_many_violate() -> None:
    random = np.random.default_rng(1)
    raw = random.normal(-2, 2, 20_000)
    labels = (random.random(20_000) < 1 / (1 + np.exp(-1.5 * raw - 4))).astype(float)
    assert fit_slope(raw, labels, np.ones(20_000)) == pytest.approx(1.5, rel=0.1)
