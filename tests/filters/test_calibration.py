import numpy as np
import pytest

from feedmill.filters.calibration import LengthCalibrator

LENGTHS, DEMOTE_AT = np.array([100, 200]), np.array([1.0, 2.0, -3.0])


def value(raw: float, characters: int, slope: float = 1.0, ceiling: float = 1.0) -> float:
    calibrator = LengthCalibrator(LENGTHS, DEMOTE_AT, slope, ceiling)
    return float(calibrator.value(np.array([raw]), np.array([characters]))[0])


@pytest.mark.parametrize(("characters", "raw"), [(0, 1.0), (100, 1.0), (101, 2.0), (999, -3.0)])
@pytest.mark.parametrize("ceiling", [1.0, 0.89])
def test_each_length_has_its_own_threshold(characters: int, raw: float, ceiling: float) -> None:
    assert value(raw, characters, ceiling=ceiling) == pytest.approx(0.6)


def test_values_rise_by_the_slope_in_log_odds() -> None:
    above = value(1.0 + 2.0, 50, slope=0.5)
    assert np.log(above / (1 - above)) == pytest.approx(np.log(0.6 / 0.4) + 1.0)


def test_values_come_close_to_a_ceiling_and_keep_their_order() -> None:
    values = [value(raw, 50, ceiling=0.89) for raw in (1.0, 1.5, 2.0, 3.0, 5.0)]
    assert values == sorted(set(values))
    assert 0.88 < value(50.0, 50, ceiling=0.89) <= 0.89


@pytest.mark.parametrize("ceiling", [1.0, 0.89])
def test_a_score_by_itself_has_the_same_bits_as_among_others(ceiling: float) -> None:
    random = np.random.default_rng(1)
    raw, characters = random.normal(0.0, 4.0, 500), random.integers(0, 300, 500)
    calibrator = LengthCalibrator(LENGTHS, DEMOTE_AT, 1.7, ceiling)
    alone = [value(*row, 1.7, ceiling) for row in zip(raw, characters, strict=True)]
    np.testing.assert_array_equal(calibrator.value(raw, characters), alone)


def test_no_raw_score_overflows() -> None:
    assert value(1e6, 50) == pytest.approx(1.0)
    assert value(-1e6, 50) == pytest.approx(0.0)
