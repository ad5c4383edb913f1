"""When the mean rank has moved, and when that is certain."""

import numpy as np
import pytest

from feedmill.streams.watch.value_watch import ShiftDetector

UNIFORM = 1 / 12
REFERENCE = 5000.0


def test_the_window_forgets_what_came_before_a_change() -> None:
    random = np.random.default_rng(1)
    detector = ShiftDetector()
    detector.update_many(random.random(20_000).tolist())
    assert detector.shift == pytest.approx(0, abs=0.01)
    assert not detector.is_certain(UNIFORM, REFERENCE)
    detector.update_many((0.3 + 0.7 * random.random(2000)).tolist())
    assert detector.shift == pytest.approx(0.15, abs=0.02)
    assert detector.is_certain(UNIFORM, REFERENCE)


def test_a_shift_of_few_values_is_not_certain() -> None:
    detector = ShiftDetector()
    assert not detector.is_certain(UNIFORM, REFERENCE)
    detector.update_many([1.0] * 99)
    assert not detector.is_certain(UNIFORM, REFERENCE)


def test_a_shift_within_the_error_of_the_reference_is_not_certain() -> None:
    detector = ShiftDetector()
    detector.update_many((0.05 + 0.95 * np.random.default_rng(2).random(50_000)).tolist())
    assert detector.is_certain(UNIFORM, 1e6)
    assert not detector.is_certain(UNIFORM, 1000)


def test_one_rare_event_is_not_certain() -> None:
    # No event among 5000 before, so the variance says nothing.
    detector = ShiftDetector()
    detector.update_many([0.5] * 99 + [1.0])
    assert not detector.is_certain(0.0, REFERENCE)
    detector.update_many([1.0] * 300)
    assert detector.is_certain(0.0, REFERENCE)
