import numpy as np
import pytest

from feedmill.simulation.replay.reactions import CAP, scale_to_mean


def test_reactions_follow_the_known_ones() -> None:
    known = np.array([0.0, 10.0, 20.0, 1e9])
    factor = scale_to_mean(known, 5.0)
    expected = np.minimum(CAP * 5, factor * known)
    assert expected.mean() == pytest.approx(5.0)
    assert expected[2] == pytest.approx(2 * expected[1])
    assert scale_to_mean(np.zeros(3), 5.0) == 0.0
    assert scale_to_mean(known, 0.0) == 0.0
