"""Versions of quality on ratings: what they learned is left out, and a difference is paired."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.stats import spearmanr

from builders.ranker_datasets import write_quality_datasets
from builders.training_data import sentences
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.models.artifact import DataUse, read_card
from feedmill.rankers.quality import RANKER
from feedmill.rankers.spec import STORE
from feedmill.training.evaluation.rating_evaluation import (
    RatedFile,
    RatingReport,
    StoredVersion,
    as_markdown,
    evaluate_ratings,
    read_rated_files,
)
from feedmill.training.label_join import topic_dataset
from feedmill.training.trainers import quality

VERSION = StoredVersion(RANKER.load(), read_card(STORE, "quality"), STORE)


def rated_file(folder: Path, count: int = 300) -> Path:
    lines = [f"{text},{i % 5 / 4},a{i % 60}" for i, text in enumerate(sentences(count, 9))]
    path = folder / "votes.csv"
    path.write_text("\n".join(["text,rating,author", *lines]) + "\n")
    return path


def reports_of(
    versions: Sequence[StoredVersion], path: Path, *, look: bool = False
) -> list[RatingReport]:
    files = read_rated_files([f"{path},label=rating,group=author"])
    return evaluate_ratings(versions, files, look=look)


def test_order_and_error_are_those_of_the_rows(tmp_path: Path) -> None:
    path = rated_file(tmp_path)
    (report,) = reports_of([VERSION], path)
    posts = [Post(f"p{i}", "a", 0, text) for i, text in enumerate(sentences(300, 9))]
    values, labels = VERSION.model.score_many(posts), np.array([i % 5 / 4 for i in range(300)])
    (figures,) = report.versions
    assert figures.order.value == pytest.approx(spearmanr(values, labels).statistic)
    assert figures.squared_error.value == pytest.approx(np.square(values - labels).mean())
    assert figures.order.low < figures.order.value < figures.order.high
    assert (report.source, report.rows, report.learned) == ("votes", 300, 0)
    assert f"| votes | 300 | quality@{VERSION.card.version} |" in as_markdown([report])


def test_a_version_is_no_better_than_itself(tmp_path: Path) -> None:
    (report,) = reports_of([VERSION, VERSION], rated_file(tmp_path))
    assert report.difference is not None
    for figure in (report.difference.order, report.difference.squared_error):
        assert (figure.value, figure.low, figure.high) == (0, 0, 0)


def test_rows_that_a_version_learned_are_left_out(tmp_path: Path) -> None:
    path = rated_file(tmp_path)
    (file,) = read_rated_files([f"{path},label=rating,group=author"])
    use = DataUse("votes.csv", 1, "not stated", "rated", split=file.split_rule)
    learned = VERSION._replace(card=replace(VERSION.card, data=[use]))
    with pytest.raises(UsageError, match="--look WHY measures on its test rows"):
        reports_of([learned], path)
    (report,) = reports_of([VERSION, learned], path, look=True)
    assert report.rows == len(file.posts.split("test"))
    assert report.learned == 300 - report.rows
    # By another rule nobody knows which rows it learned.
    other = VERSION._replace(card=replace(VERSION.card, data=[replace(use, split="other")]))
    with pytest.raises(UsageError, match="all its rows trained the model"):
        reports_of([other], path, look=True)


def test_labels_that_came_after_a_training_count(tmp_path: Path) -> None:
    posts = [Post(f"p{i}", f"a{i % 60}", i, text) for i, text in enumerate(sentences(300, 4))]
    later = [Post(f"q{i}", f"b{i}", i, text) for i, text in enumerate(sentences(50, 5))]
    rated = [(post, i % 2 / 2) for i, post in enumerate(posts)]
    card = quality.train_on_labels(
        topic_dataset("labels", rated), None, tmp_path, "2026-01-01", "the command"
    )
    # As of a challenger, which learns all rows.
    card = replace(card, data=[replace(use, split="") for use in card.data])
    version = StoredVersion(RANKER.load(tmp_path), card, tmp_path)
    now = RatedFile.of(topic_dataset("labels", [*rated, *((post, 0.5) for post in later)]))
    (report,) = evaluate_ratings([version], [now], look=True)
    # The snapshot has the rows but those of the test split, whose authors no other row shares.
    assert report.rows >= 50
    assert report.rows == 50 + len(topic_dataset("labels", rated).rows.split("test"))


def test_a_folder_stands_for_the_data_sets_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quality_webis_clickbait17"):
        read_rated_files([str(tmp_path)])
    write_quality_datasets(tmp_path)
    files = read_rated_files([str(tmp_path)])
    assert [file.posts.source for file in files] == ["webis", "semeval"]
    # The shipped card names both, and says how they were divided.
    reports = evaluate_ratings([VERSION], files, look=True)
    assert all(
        0 < report.rows <= len(file.posts.split("test"))
        for report, file in zip(reports, files, strict=True)
    )
    assert {use.file for use in VERSION.card.data} >= {file.file for file in files}
