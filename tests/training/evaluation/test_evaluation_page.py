from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builders.training_data import dataset, labelled, ordinary, training_data
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.models.artifact import ModelCard
from feedmill.models.text_model import Scores
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.evaluation_page import page, write_page
from feedmill.training.evaluation.report import Evaluation, FilterReport, as_markdown
from feedmill.training.evaluation.stored_models import evaluate_ordinary, evaluate_stored
from feedmill.training.training_data import TrainingData


class Shouting:
    """Scores by capital letters."""

    name, version = "spam", "0" * 12

    def score_many(self, posts: Sequence[Post]) -> Scores:
        return np.array([0.95 if "BUY" in post.text else 0.05 for post in posts])

    def score_batch(self, batch: PostBatch) -> Scores:
        return self.score_many(batch.posts)


def evaluation() -> Evaluation:
    datasets = [
        dataset(LabelledPosts("sms", rows.posts, rows.labels, rows.groups, rows.splits))
        for rows in [labelled("sms", 1)]
    ]
    data = TrainingData(tuple(datasets), training_data().ordinary)
    card = ModelCard(
        "spam", "a" * 64, "2026-01-01", "Unwanted.", 3, [], {}, ["reads no pictures"], "made"
    )
    reports = evaluate_stored(Shouting(), card, data)
    on_ordinary = evaluate_ordinary([(Shouting(), card)], [dataset(ordinary("one", 3))])
    return Evaluation([FilterReport("spam", card, reports, on_ordinary)], on_ordinary)


def test_the_page_shows_bars_cards_and_curves_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "old.svg").touch()
    write_page(evaluation(), tmp_path)
    text = (tmp_path / "filters.md").read_text("utf-8")
    assert text == page(evaluation())
    assert "| spam | sms | stored | caught demoted | ≥ 0.88 | 1.0000 | yes |" in text
    assert "| all | ordinary posts of one, the most of any source | stored | hidden |" in text
    assert "- reads no pictures" in text
    images = re.findall(r"\]\((filters/[^)]*)\)", text)
    assert images == ["filters/spam-sms-stored.svg"]
    assert [path.name for path in (tmp_path / "filters").iterdir()] == ["spam-sms-stored.svg"]


def test_no_report_shows_a_text() -> None:
    for text in (page(evaluation()), as_markdown(evaluation())):
        assert "sms-" in text
        assert "BUY" not in text
