from __future__ import annotations

import numpy as np
import pytest

from feedmill.training.fitting.stacking import fixed_calibrator


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
