from pathlib import Path

import numpy as np
import pytest

from builders.events import posts_of
from builders.ranker_datasets import write_quality_datasets
from builders.training_data import sentences
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.models.artifact import read_artifact, read_card
from feedmill.models.store_files import file_sizes
from feedmill.models.text_model import FEATURES
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import load
from feedmill.rankers.spec import STORE
from feedmill.training.fitting.quality import fit_delta, with_delta
from feedmill.training.label_join import topic_dataset
from feedmill.training.recipes import OWN_PENALTIES
from feedmill.training.trainers import engagement, quality
from feedmill.training.trainers.filters import TrainingRun
from feedmill.training.training_data import Dataset


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


def labels_of(texts: list[str], values: list[float], authors: int) -> Dataset:
    rated = [
        (Post(f"p{i}", f"a{i % authors}", i, text), value)
        for i, (text, value) in enumerate(zip(texts, values, strict=True))
    ]
    return topic_dataset("labels", rated)


def test_labels_of_the_product_alone_train_quality(tmp_path: Path) -> None:
    texts = [f"{text} {'thanks' if i % 2 else 'again'}" for i, text in enumerate(sentences(300, 4))]
    labels = labels_of(texts, [0.9 if i % 2 else 0.3 for i in range(300)], authors=60)
    card = quality.train_on_labels(labels, None, tmp_path, "2026-01-01", "the command")
    model = load("quality", tmp_path)
    assert isinstance(model, QualityModel)
    low, high = model.score_many(posts_of([f"{texts[0]}", f"{texts[0]} thanks"]))
    assert low + 0.3 < high
    assert [(use.file, use.role) for use in card.data] == [("topic:labels", "rated")]
    assert card.command == "the command"
    assert "headline" not in " ".join([card.summary, *card.weaknesses])


def test_ratings_move_a_stored_version_and_leave_it_installed(tmp_path: Path) -> None:
    champion = read_card(STORE, "quality")
    artifact = read_artifact(STORE, "quality", FEATURES, champion.sha256)
    model = QualityModel.of(artifact)
    texts = [f"{text} {'thanks' if i % 2 else 'again'}" for i, text in enumerate(sentences(300, 4))]
    labels = labels_of(texts, [0.9 if i % 2 else 0.3 for i in range(300)], authors=60)
    delta = fit_delta(model, labels.rows, OWN_PENALTIES)
    run = TrainingRun("2026-01-01", "the command")
    moved = quality.MovedModel(champion, artifact, delta, {"better": 123.0})
    card = quality.save_challenger(moved, labels, tmp_path, run)
    stored = load("quality", tmp_path, card.sha256)
    assert isinstance(stored, QualityModel)
    assert np.array_equal(
        stored.score_many(posts_of(texts)), with_delta(model, delta).score_many(posts_of(texts))
    )
    low, high = stored.score_many(posts_of([f"{texts[0]}", f"{texts[0]} thanks"]))
    assert low + 0.3 < high
    assert not (tmp_path / "quality.json").exists()
    assert (card.parameters["base"], card.metrics) == (champion.sha256, {"better": 123.0})
    assert [(use.file, use.role) for use in card.data][:2] == [
        ("topic:labels", "rated"),
        (champion.data[0].file, "rated, of the base"),
    ]
    kept = card.data[0].snapshot
    assert kept is not None
    assert kept.rows == 300
    # The next one does not say twice what it starts from.
    own = read_artifact(tmp_path, "quality", FEATURES, card.sha256)
    again = quality.save_challenger(quality.MovedModel(card, own, delta, {}), labels, tmp_path, run)
    assert again.summary == card.summary
    assert {use.role for use in again.data[1:]} == {"rated, of the base"}


@pytest.mark.parametrize(
    ("texts", "value", "authors", "reason"),
    [(80, 0.5, 40, "found"), (300, 0.5, 10, "authors"), (300, 0.5, 60, "are 0.5: nothing tells")],
)
def test_too_few_labels_or_one_value_are_refused(
    tmp_path: Path, texts: int, value: float, authors: int, reason: str
) -> None:
    labels = labels_of(sentences(texts, 4), [value] * texts, authors)
    with pytest.raises(UsageError, match=reason):
        quality.train_on_labels(labels, None, tmp_path, "2026-01-01", "c")
