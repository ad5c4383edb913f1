from health_posts import (
    evaluate_health_left_out,
    health_posts,
)

from builders.training_data import sentences, training_data
from feedmill.filters.registry import FILTERS
from feedmill.training.datasets.labelled_posts import LabelledRow, labelled_posts
from feedmill.training.evaluation.cross_validation import TrainingBudget


def test_posts_about_health_have_one_of_its_words() -> None:
    texts = ["A new Vaccine works", "The doctor's advice", "Healthy food", "A curefree day"]
    rows = labelled_posts("s", "s", [LabelledRow(text, 0.0, text) for text in texts])
    assert health_posts(rows).texts == texts[:2]


def test_a_source_is_judged_by_a_model_that_did_not_learn_from_it() -> None:
    data = training_data()
    spam = sentences(30, 7, "BUY pills NOW!!!")
    rows = labelled_posts(
        "one",
        "one",
        [
            *(LabelledRow(f"doctor {text}", 0.0, f"h{text}") for text in spam),
            *(LabelledRow(f"doctor {text}", 0.0, f"k{text}") for text in sentences(30, 8)),
            *(LabelledRow(f"{text} river", 0.0, f"l{text}") for text in spam),
        ],
    )
    report = evaluate_health_left_out(FILTERS["spam"], data, "one", rows, TrainingBudget())
    assert (report.source, report.left_out, report.rows) == ("one", True, 60)
    assert 0.4 < report.demoted.value < 0.6
