from __future__ import annotations

import numpy as np

from builders.training_data import dataset, sentences, training_data
from feedmill.filters.registry import FILTERS
from feedmill.training.datasets.labelled_posts import (
    LabelledPosts,
    LabelledRow,
    labelled_posts,
)
from feedmill.training.evaluation import local_labels
from feedmill.training.evaluation.cross_validation import TrainingBudget
from feedmill.training.evaluation.local_labels import LABELS, evaluate_local
from feedmill.training.training_data import TrainingData


def new_spam(groups: int) -> LabelledPosts:
    """Spam that shares no word with that of the other sets."""
    texts = (
        *((text, 1.0) for text in sentences(150, 5, "amber lantern saddle")),
        *((text, 0.0) for text in sentences(150, 6, "copper meadow basket")),
    )
    rows = [LabelledRow(text, label, f"v{i % groups}") for i, (text, label) in enumerate(texts)]
    return labelled_posts("new", "new", rows)


def with_new(groups: int) -> TrainingData:
    data = training_data()
    return TrainingData((data.labelled[0], dataset(new_spam(groups), "9" * 64)), data.ordinary)


def test_labels_of_a_source_left_out_raise_the_recall_on_other_groups() -> None:
    reports = evaluate_local(FILTERS["spam"], with_new(60), 1, TrainingBudget(), look=False)
    assert [report.labels for report in reports] == list(LABELS)
    for report in reports:
        assert report.protocol == "the validation rows, with labels of other groups"
        assert report.recall.low <= report.recall.value <= report.recall.high
        assert report.base < report.recall.value
        assert report.recall.value > 0.9


def test_of_few_groups_each_is_judged_by_labels_of_the_others() -> None:
    protocol, judged = local_labels._judged(new_spam(3), look=True)
    assert protocol == "each of 3 groups, with labels of the others"
    assert [int(mask.sum()) for mask in judged] == [100, 100, 100]
    assert (np.sum(judged, axis=0) == 1).all()
    (test,) = local_labels._judged(new_spam(60), look=True)[1]
    assert (test == (new_spam(60).splits == "test")).all()
