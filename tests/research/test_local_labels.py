import local_labels
import numpy as np
from local_labels import LABELS, evaluate_local

from builders.training_data import dataset, sentences, training_data
from feedmill.filters.registry import FILTERS
from feedmill.training.datasets.labelled_posts import (
    LabelledPosts,
    LabelledRow,
    labelled_posts,
)
from feedmill.training.evaluation.cross_validation import models_left_out
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
    data = with_new(60)
    (left_out,) = [
        left
        for left in models_left_out(FILTERS["spam"], data)
        if (left.index, left.mode) == (1, "left out")
    ]
    reports = evaluate_local(data, left_out, look=False)
    assert [report.labels for report in reports] == list(LABELS)
    for report in reports:
        assert report.protocol == "validation rows, with labels of other groups"
        assert report.recall.low <= report.recall.value <= report.recall.high
        assert report.base < report.recall.value
        assert report.recall.value > 0.9


def test_of_few_groups_each_is_judged_by_labels_of_the_others_then_of_all() -> None:
    rows = new_spam(3)
    of_others, of_all = local_labels._protocols(rows, look=True)
    assert of_others[0] == "3 groups, with labels of other groups"
    assert of_all[0] == "3 groups, with labels of all"
    for cases in (of_others[1], of_all[1]):
        assert (np.sum([case.judged for case in cases], axis=0) == 1).all()
    assert not any((case.labelled & case.judged).any() for case in of_others[1])
    assert all(case.labelled.all() for case in of_all[1])
    ((_, (case,)),) = local_labels._protocols(new_spam(60), look=True)
    assert (case.judged == (new_spam(60).splits == "test")).all()
    assert (case.labelled == ~case.judged).all()
