"""A stored model is evaluated on rows that neither trained nor tuned it, in whatever file."""

from dataclasses import replace

import pytest

from builders.leaks import Parrot, check_nothing_leaked, leaky_data
from builders.training_data import dataset, labelled, ordinary
from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.stored_models import (
    compare_stored,
    evaluate_stored,
    ordinary_rows,
)
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
    reports = evaluate_stored(parrot, card_of(*trained), data, look=True).reports
    check_nothing_leaked([parrot])
    notes = [report.note for report in reports]
    assert notes[:2] == ["the test split of a file that it was trained on"] * 2
    assert notes[2] == "a file it never saw"
    assert reports[2].dropped > 0  # the planted copies of texts that trained it
    # Without that the parrot would catch them: it knows copies of violating texts by heart.
    known = Parrot(training_rows_of(*trained)).score_many(data.labelled[2].rows.posts)
    assert (known > 0.9).any()
    assert reports[2].metrics.caught_hidden.value == 0


def test_a_file_is_recognised_by_its_content_and_by_its_name() -> None:
    own = dataset(labelled("bad", 1), "1" * 64)
    renamed = dataset(replace(own.rows, source="other"), "1" * 64)
    altered = dataset(own.rows, "9" * 64)
    card = card_of(own)
    for given, note in (
        (renamed, "a file that it was trained on"),
        (altered, "whose sha256 differs or is unknown"),
    ):
        report = evaluate_stored(Parrot(), card, TrainingData((given,), ()), look=True).reports[0]
        assert note in report.note
        assert report.metrics.rows == int((own.rows.splits == "test").sum())
    strange = dataset(labelled("new", 5), "5" * 64)
    report = evaluate_stored(Parrot(), card, TrainingData((strange,), ()), look=False).reports[0]
    assert report.note == "a file it never saw; its rows were not looked for in bad.csv"
    assert report.metrics.rows == len(strange.rows)


def test_another_split_of_a_training_file_is_refused() -> None:
    card = card_of(dataset(labelled("bad", 1), "1" * 64))
    other = dataset(labelled("bad", 1), "1" * 64, group="author")
    with pytest.raises(
        UsageError,
        match=r"`spam@0+` was trained on bad.csv, split g, by g, second edition; it cannot be",
    ):
        evaluate_stored(Parrot(), card, TrainingData((other,), ()), look=True)


def test_a_file_without_a_test_row_is_refused() -> None:
    own = dataset(labelled("bad", 1), "1" * 64)
    with pytest.raises(UsageError, match="trained or tuned on every row of it"):
        without_test = dataset(training_rows_of(own)[0], "1" * 64)
        evaluate_stored(Parrot(), card_of(own), TrainingData((without_test,), ()), look=True)


def test_test_rows_are_evaluated_only_where_a_look_is_asked_for() -> None:
    data = leaky_data()
    trained = (data.labelled[0], data.labelled[1], *data.ordinary)
    parrot = Parrot()
    reports, not_looked_at = evaluate_stored(parrot, card_of(*trained), data, look=False)
    assert [report.name for report in reports] == ["copies"]
    assert not_looked_at == ["bad", "few"]
    test_ids = {p.post_id for d in trained for p in d.rows.split("test").posts}
    assert not {post.post_id for post in parrot.scored} & test_ids


def test_of_ordinary_files_the_split_counts_that_the_look_allows() -> None:
    known, strange = dataset(ordinary("one", 3), "3" * 64), dataset(ordinary("new", 4), "9" * 64)
    for look, split in ((True, "test"), (False, "validation")):
        of_known, of_strange = ordinary_rows([card_of(known)], [known, strange], look=look)
        assert of_known.texts == known.rows.where(known.rows.splits == split).texts
        assert of_strange.texts == strange.rows.texts


def test_two_models_are_compared_on_the_same_rows_that_neither_learned() -> None:
    data = leaky_data()
    trained = (data.labelled[0], *data.ordinary)
    oracle, parrot = Parrot([d.rows for d in data.labelled]), Parrot()
    cards = card_of(*trained), card_of(data.labelled[1])
    comparisons = compare_stored((oracle, cards[0]), (parrot, cards[1]), data, look=True)
    assert [comparison.name for comparison in comparisons] == ["bad", "few", "copies"]
    assert [p.post_id for p in oracle.scored] == [p.post_id for p in parrot.scored]
    for comparison in comparisons:
        assert (comparison.auc.value, comparison.caught_demoted.value) == (0.5, 1.0)
        # Paired: where one is always right and the other always undecided, no draw differs.
        assert (comparison.auc.low, comparison.auc.high) == (0.5, 0.5)
        assert comparison.fine_demoted.value == 0
    without_look = compare_stored((oracle, cards[0]), (parrot, cards[1]), data, look=False)
    assert [comparison.name for comparison in without_look] == ["copies"]
