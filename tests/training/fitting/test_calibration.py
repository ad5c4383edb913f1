from __future__ import annotations

import numpy as np
import pytest

from feedmill.training.fitting.calibration import fit_slope, fixed_calibrator


@pytest.mark.parametrize("ceiling", [0.9999, 0.89])
def test_a_curve_keeps_scores_apart_and_ends_at_its_ceiling(ceiling: float) -> None:
    curve = fixed_calibrator(1.0, 2.0, 0.7, ceiling)
    values = curve.value(np.linspace(-10, 13, 2_000))
    assert (np.diff(values) > 0).all()
    assert curve.value(np.array([1.0]))[0] == pytest.approx(0.6)
    assert curve.value(np.array([100.0]))[0] == pytest.approx(ceiling)
    if ceiling > 0.9:
        assert curve.value(np.array([2.0]))[0] == pytest.approx(0.9)


def test_equal_thresholds_still_rise() -> None:
    values = fixed_calibrator(1.0, 1.0, 0.7, 0.9999).value(np.array([0.99, 1.0, 1.01, 2.0]))
    assert (np.diff(values) > 0).all()
    assert values[1] == pytest.approx(0.6)


def test_the_slope_is_the_one_that_labels_call_for() -> None:
    random = np.random.default_rng(1)
    raw = random.normal(-2, 2, 20_000)
    truth = 1 / (1 + np.exp(-(np.log(0.6 / 0.4) + 1.5 * raw)))
    labels = (random.random(20_000) < truth).astype(float)
    assert fit_slope(raw, labels, np.ones(20_000), raw_demote=0.0) == pytest.approx(1.5, rel=0.15)
