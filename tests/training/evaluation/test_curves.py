"""Curves keep few points with both ends, and are drawn the same twice."""

from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from feedmill.training.evaluation.curves import curves_of, svg

RANDOM = np.random.default_rng(3)
VIOLATING = RANDOM.random(2_000) < 0.3
SCORES = np.clip(RANDOM.normal(0.4 + 0.2 * VIOLATING, 0.1), 0, 1)


def test_a_curve_keeps_some_of_its_points_and_both_ends() -> None:
    curves = curves_of(SCORES, VIOLATING)
    across, up, _ = roc_curve(VIOLATING, SCORES)
    assert len(across) > 80 >= len(curves.roc)
    assert set(curves.roc) <= set(zip(across.tolist(), up.tolist(), strict=True))
    assert (curves.roc[0], curves.roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert (curves.precision[0][0], curves.precision[-1][0]) == (0.0, 1.0)
    assert curves.precision[-1][1] == pytest.approx(VIOLATING.mean(), abs=0.01)
    assert all(abs(mean - rate) > 0.01 for mean, rate in curves.calibration[:3])


def test_where_nothing_violates_there_is_no_curve_of_order() -> None:
    curves = curves_of(SCORES, np.zeros(len(SCORES), dtype=np.bool_))
    assert (curves.roc, curves.precision) == ([], [])
    assert {rate for _, rate in curves.calibration} == {0.0}


def test_a_plot_is_well_formed_names_its_axes_and_is_the_same_twice() -> None:
    curves = curves_of(SCORES, VIOLATING)
    drawn = svg("spam & sms", curves)
    assert drawn == svg("spam & sms", curves)
    root = ElementTree.fromstring(drawn)  # noqa: S314 - made right here
    texts = {each.text for each in root.findall(".//{*}text")}
    assert {"spam & sms", "false positive rate", "precision", "share violating"} <= texts
