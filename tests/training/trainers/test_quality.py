from __future__ import annotations

from pathlib import Path

from builders.ranker_datasets import write_quality_datasets
from feedmill.training.trainers import quality


def test_quality_is_reproducible_and_learns(tmp_path: Path) -> None:
    write_quality_datasets(tmp_path)
    first = quality.train(tmp_path, tmp_path / "a", "2026-01-01")
    second = quality.train(tmp_path, tmp_path / "b", "2026-01-02")
    assert first.sha256 == second.sha256
    assert first.metrics["clickbait32k.auc"] > 0.9
    assert first.metrics["semeval.auc"] > 0.9
