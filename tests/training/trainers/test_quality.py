from __future__ import annotations

from pathlib import Path

import pytest

from builders.events import posts_of
from builders.ranker_datasets import write_quality_datasets
from builders.training_data import sentences
from feedmill.events.errors import UsageError
from feedmill.models.store_files import file_sizes
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import load
from feedmill.training.trainers import engagement, quality


def test_quality_is_reproducible_and_learns(tmp_path: Path) -> None:
    write_quality_datasets(tmp_path)
    first = quality.train(tmp_path, tmp_path / "a", "2026-01-01")
    second = quality.train(tmp_path, tmp_path / "b", "2026-01-02")
    assert first.sha256 == second.sha256
    model = load("quality", tmp_path / "a")
    assert isinstance(model, QualityModel)
    plain = sentences(20, 3)
    good = model.score_many(posts_of(plain))
    bad = model.score_many(posts_of([f"{text} wow!!" for text in plain]))
    assert bad.max() < good.min()
    assert [use.role for use in first.data] == ["rated"] * 3
    assert all(len(use.sha256) == 64 and use.rows for use in first.data)
    kept = [use.snapshot for use in first.data if use.snapshot]
    assert file_sizes(tmp_path / "a", "snapshots").keys() == {f"{k.sha256}.parquet" for k in kept}
    assert all(use.snapshot and use.snapshot.rows >= use.rows for use in first.data)
    assert first.data == second.data


def test_ratings_of_ones_own_are_one_more_construct(tmp_path: Path) -> None:
    write_quality_datasets(tmp_path)
    kinds = [f"{text} ours" for text in sentences(300, 4)]
    lines = [f"{text}{' thanks' * (i % 2)},{i % 2}" for i, text in enumerate(kinds)]
    path = tmp_path / "votes.csv"
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    card = quality.train(tmp_path, tmp_path / "a", "2026-01-01", [str(path)])
    assert card.data[-1].file == "votes.csv"
    assert card.data[-1].snapshot
    assert card.data[-1].snapshot.rows == card.data[-1].rows
    model = load("quality", tmp_path / "a")
    assert isinstance(model, QualityModel)
    assert [construct.name for construct in model.constructs][-1] == "rating"
    low, high = model.score_many(posts_of([f"{kinds[0]}", f"{kinds[0]} thanks"]))
    assert low + 0.2 < high


def test_engagement_takes_no_ratings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="engagement learns from reactions, not from ratings"):
        engagement.train(tmp_path, tmp_path / "a", "2026-01-01", ["votes.csv"])
