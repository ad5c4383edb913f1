from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from builders.ranker_datasets import write_headline_tests
from feedmill.training.datasets.headline_tests import read_arms
from feedmill.training.trainers import engagement


def explained(log_loss: float, folder: Path) -> float:
    """How far a loss lies from that of one rate for all arms (0) to that of the true rates (1)."""
    train, test = read_arms(folder)
    rates = test.clicks / test.impressions

    def loss(predicted: npt.NDArray[np.float64]) -> float:
        return float(-(rates * np.log(predicted) + (1 - rates) * np.log1p(-predicted)).mean())

    one_rate = loss(np.full(len(test), train.clicks.sum() / train.impressions.sum()))
    true_rates = loss(np.where(rates > 0.015, 0.02, 0.01))
    return (one_rate - log_loss) / (one_rate - true_rates)


def test_engagement_is_reproducible_and_learns_the_better_word(tmp_path: Path) -> None:
    write_headline_tests(tmp_path, by_text=True)
    first = engagement.train(tmp_path, tmp_path / "a", "2026-01-01")
    second = engagement.train(tmp_path, tmp_path / "b", "2026-01-02")
    assert first.sha256 == second.sha256
    assert first.metrics["base_rate"] == pytest.approx(0.015, rel=0.05)
    assert first.metrics["upworthy.pairs_right_by_text"] > 0.9
    assert explained(first.metrics["upworthy.log_loss_prior_only"], tmp_path) > 0.8
    # The text alone is right here, so that counts of a few impressions can only blur it.
    assert explained(first.metrics["upworthy.log_loss"], tmp_path) > 0.7


def test_counts_tell_apart_what_the_text_cannot(tmp_path: Path) -> None:
    write_headline_tests(tmp_path, by_text=False)
    metrics = engagement.train(tmp_path, tmp_path / "store", "2026-01-01").metrics
    assert explained(metrics["upworthy.log_loss_prior_only"], tmp_path) < 0.02
    assert explained(metrics["upworthy.log_loss"], tmp_path) > 0.05
    raw_rate = metrics["upworthy.spearman_thinned_raw_rate"]
    assert metrics["upworthy.spearman_thinned"] > raw_rate + 0.1
