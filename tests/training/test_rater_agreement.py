"""Dawid and Skene: raters are told apart, and the truth is found against a wrong majority."""

import numpy as np
import pytest

from feedmill.training.rater_agreement import dawid_skene


def test_the_rates_of_raters_are_recovered() -> None:
    random = np.random.default_rng(1)
    truth = random.random(3_000) < 0.3
    sensitivity, specificity = [0.9, 0.8, 0.6, 0.95], [0.95, 0.9, 0.7, 0.5]
    posts, raters, says = [], [], []
    for post, violates in enumerate(truth.tolist()):
        for rater in range(4):
            right = random.random() < (sensitivity if violates else specificity)[rater]
            posts.append(post)
            raters.append(rater)
            says.append(violates == right)
    found = dawid_skene(posts, raters, says)
    assert found.sensitivity == pytest.approx(sensitivity, abs=0.04)
    assert found.specificity == pytest.approx(specificity, abs=0.04)
    assert ((found.violates > 0.5) == truth).mean() > 0.9


def test_one_label_says_little_of_its_rater() -> None:
    found = dawid_skene([0, 0], [0, 1], [True, False])
    assert found.sensitivity.min() > 0.7
    assert found.sensitivity.max() < 0.9
