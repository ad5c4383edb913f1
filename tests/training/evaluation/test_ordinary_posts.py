from collections.abc import Sequence

import numpy as np

from builders.training_data import WORDS
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores
from feedmill.training.datasets.labelled_posts import LabelledPosts, LabelledRow, labelled_posts
from feedmill.training.evaluation.ordinary_posts import ALL, evaluate_ordinary


class ByWord:
    """Gives a value to posts with a word, else 0."""

    version = "0" * 12

    def __init__(self, word: str, value: float) -> None:
        self.name, self.value = word, value

    def score_many(self, posts: Sequence[Post]) -> Scores:
        return np.array([self.value * (self.name in post.text) for post in posts])

    def score_batch(self, batch: PostBatch) -> Scores:
        return self.score_many(batch.posts)


def source(
    texts: Sequence[str], groups: int, labels: Sequence[float] | None = None
) -> LabelledPosts:
    return labelled_posts(
        "o",
        "o",
        [
            LabelledRow(
                f"{text} {'abcdefghij'[i % 10]}{'abcdefghij'[i // 10 % 10]}{i // 100 * 'z'}",
                labels[i] if labels else 0.0,
                f"g{i % groups}",
                author=f"a{i % groups}",
                community=f"c{i % groups}",
                links=(f"https://host{i % groups}.example/x",),
            )
            for i, text in enumerate(texts)
        ],
    )


def test_a_post_counts_once_under_the_strictest_filter_and_only_if_it_is_fine() -> None:
    texts = ["hide it", "demote it", "hide demote it", "plain it"] * 25
    rows = source([*texts, "hide flagged"], 50, [0.0] * 100 + [1.0])
    report = evaluate_ordinary([ByWord("hide", 0.95), ByWord("demote", 0.7)], [rows], "any rows")
    cells = {(cell.source, cell.length): cell for cell in report.cells}
    assert set(cells) == {("o", "to 100"), (ALL, "to 100"), ("o", ALL)}
    for cell in cells.values():
        assert (cell.rows, cell.groups) == (100, 50)
        assert (cell.hidden.value, cell.demoted.value) == (0.5, 0.25)
    assert report.split == "any rows"


def test_groups_of_which_much_is_hidden_are_named_if_they_have_posts_enough() -> None:
    texts = ["hide it" if i % 3 == 0 and i % 4 else "plain it" for i in range(330)]
    report = evaluate_ordinary([ByWord("hide", 0.95)], [source(texts, 3)], "")
    assert report.judged_groups == 9
    assert [(group.kind, group.name, group.rows) for group in report.hidden_groups] == [
        ("community", "c0", 110),
        ("page or author", "a0", 110),
        ("host", "host0.example", 110),
    ]
    few = evaluate_ordinary([ByWord("hide", 0.95)], [source(texts[:290], 3)], "")
    assert (few.judged_groups, few.hidden_groups) == (0, [])


def test_longer_posts_than_people_wrote_are_judged_too() -> None:
    rows = source([" ".join(WORDS) for _ in range(200)], 4)
    cells = evaluate_ordinary([ByWord("river", 0.95)], [rows], "").cells
    assert {cell.length for cell in cells} == {"to 100", "above 2,000", ALL}
