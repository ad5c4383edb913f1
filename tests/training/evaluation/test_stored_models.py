"""A stored model is evaluated on rows that neither trained nor tuned it, in whatever file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from builders.leaks import Parrot, check_nothing_leaked, leaky_data
from builders.training_data import dataset, labelled, ordinary
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.models.artifact import ModelCard
from feedmill.models.text_model import Scores, TextModel
from feedmill.training.datasets.labelled_posts import LabelledPosts, LabelledRow, labelled_posts
from feedmill.training.evaluation.stored_models import evaluate_ordinary, evaluate_stored
from feedmill.training.training_data import Dataset, TrainingData


def card_of(*datasets: Dataset) -> ModelCard:
    uses = [d.use(1, "labelled") for d in datasets]
    return ModelCard("spam", "0" * 64, "2026-01-01", "", 1, uses, {}, [], "")


def training_rows_of(*datasets: Dataset) -> list[LabelledPosts]:
    return [d.rows.where(d.rows.splits != "test") for d in datasets]


def test_a_stored_model_is_evaluated_on_rows_it_never_saw() -> None:
    data = leaky_data()
    trained = (data.labelled[0], data.labelled[1], *data.ordinary)
    parrot = Parrot(training_rows_of(*trained))
    reports = evaluate_stored(parrot, card_of(*trained), data)
    check_nothing_leaked([parrot])
    notes = [report.note for report in reports]
    assert notes[:2] == ["the test split of a file that it was trained on"] * 2
    assert notes[2] == "a file it never saw"
    assert reports[2].dropped > 0  # the planted copies of texts that trained it
    # Without that the parrot would catch them: it knows copies of violating texts by heart.
    known = Parrot(training_rows_of(*trained)).score_many(data.labelled[2].rows.posts)
    assert (known > 0.9).any()
    assert reports[2].metrics.caught_hidden == 0


def test_a_file_is_recognised_by_its_content_and_by_its_name() -> None:
    own = dataset(labelled("bad", 1), "1" * 64)
    renamed = dataset(replace(own.rows, source="other"), "1" * 64)
    altered = dataset(own.rows, "9" * 64)
    card = card_of(own)
    for given, note in (
        (renamed, "a file that it was trained on"),
        (altered, "whose sha256 differs or is unknown"),
    ):
        report = evaluate_stored(Parrot(), card, TrainingData((given,), ()))[0]
        assert note in report.note
        assert report.metrics.rows == int((own.rows.splits == "test").sum())
    strange = dataset(labelled("new", 5), "5" * 64)
    report = evaluate_stored(Parrot(), card, TrainingData((strange,), ()))[0]
    assert report.note == "a file it never saw; its rows were not looked for in bad.csv"
    assert report.metrics.rows == len(strange.rows)


def test_another_split_of_a_training_file_is_refused() -> None:
    card = card_of(dataset(labelled("bad", 1), "1" * 64))
    other = dataset(labelled("bad", 1), "1" * 64, group="author")
    with pytest.raises(
        UsageError,
        match=r"`spam@0+` was trained on bad.csv, split g, by g, second edition; it cannot be",
    ):
        evaluate_stored(Parrot(), card, TrainingData((other,), ()))


def test_a_file_without_a_test_row_is_refused() -> None:
    own = dataset(labelled("bad", 1), "1" * 64)
    with pytest.raises(UsageError, match="trained or tuned on every row of it"):
        evaluate_stored(
            Parrot(), card_of(own), TrainingData((dataset(training_rows_of(own)[0], "1" * 64),), ())
        )


def test_ordinary_posts_count_once_under_the_strictest_filter() -> None:
    class Fixed(Parrot):
        def __init__(self, scores: list[float]) -> None:
            super().__init__()
            self.scores = scores

        def score_many(self, posts: Sequence[Post]) -> Scores:
            return np.array(self.scores)

    rows = labelled_posts(
        "o",
        "o",
        [LabelledRow(t, y, t) for t, y in (("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 1.0))],
    )
    models: list[tuple[TextModel, ModelCard]] = [
        (Fixed([0.9, 0.7, 0.1, 0.95]), card_of()),
        (Fixed([0.1, 0.95, 0.6, 0.1]), card_of()),
    ]
    (report,) = evaluate_ordinary(models, [dataset(rows)])
    assert (report.rows, report.hidden, report.demoted) == (4, 0.75, 0.25)
    assert (report.not_flagged_hidden, report.not_flagged_demoted) == (2 / 3, 1 / 3)
    (of_training_file,) = evaluate_ordinary(
        [(Parrot(), card_of(dataset(ordinary("one", 3))))], [dataset(ordinary("one", 3))]
    )
    assert of_training_file.rows == int((ordinary("one", 3).splits == "test").sum())
