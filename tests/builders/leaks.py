"""A model that knows its training rows by heart, and data in which a leak would show."""

from collections.abc import Sequence

import numpy as np
import pytest

from builders.training_data import dataset, training_data
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores
from feedmill.training.datasets.labelled_posts import (
    LabelledPosts,
    LabelledRow,
    labelled_posts,
    text_fingerprint,
)
from feedmill.training.evaluation import cross_validation
from feedmill.training.training_data import TrainingData


class Parrot:
    """Knows its training rows by heart, so that a leak makes it perfect; records what it scores."""

    def __init__(self, training: Sequence[LabelledPosts] = ()) -> None:
        self.violating = {
            text_fingerprint(post.text)
            for rows in training
            for post, label in zip(rows.posts, rows.labels, strict=True)
            if label
        }
        self.texts = {text_fingerprint(post.text) for rows in training for post in rows.posts}
        self.groups = {group for rows in training for group in rows.groups}
        self.scored: list[Post] = []

    name, version = "spam", "0" * 12

    def score_many(self, posts: Sequence[Post]) -> Scores:
        self.scored += posts
        return np.array(
            [0.95 if text_fingerprint(post.text) in self.violating else 0.1 for post in posts]
        )

    def score_batch(self, batch: PostBatch) -> Scores:
        return self.score_many(batch.posts)


def leaky_data() -> TrainingData:
    """Texts and groups that are in several files and splits, as they are in the wild."""
    data = training_data()
    bad, few = (d.rows for d in data.labelled)
    copies = [
        LabelledRow(p.text.upper(), y, f"copy{i % 9}")
        for i, (p, y) in enumerate(zip(bad.posts, bad.labels, strict=True))
        if i % 3 == 0
    ]
    shared = labelled_posts(
        "few",
        "bad",
        [
            LabelledRow(p.text, y, f"g{i % 7}")
            for i, (p, y) in enumerate(zip(few.posts, few.labels, strict=True))
        ],
    )
    planted = labelled_posts(
        "copies",
        "copies",
        [
            *copies,
            *(
                LabelledRow(f"own {p.text}", y, f"own{i % 40}")
                for i, (p, y) in enumerate(zip(few.posts, few.labels, strict=True))
            ),
        ],
    )
    clean = labelled_posts(
        "one",
        "one",
        [
            LabelledRow(p.text, 0.0, f"a{i % 40}")
            for i, p in enumerate([*data.ordinary[0].rows.posts, *bad.posts[150::2]])
        ],
    )
    return TrainingData(
        (data.labelled[0], dataset(shared, "5" * 64), dataset(planted, "6" * 64)),
        (dataset(clean, "7" * 64), data.ordinary[1]),
    )


def check_nothing_leaked(parrots: Sequence[Parrot]) -> None:
    """Check that each model scored posts, and none whose text it was trained on."""
    assert parrots
    for parrot in parrots:
        assert parrot.scored
        assert not {text_fingerprint(post.text) for post in parrot.scored} & parrot.texts


class FittedParrot:
    """What a fit returns, with a parrot as its model."""

    def __init__(self, parrot: Parrot) -> None:
        self.parrot = parrot

    def model(self, name: str, version: str, believed_self_labels: frozenset[str]) -> Parrot:
        return self.parrot


@pytest.fixture
def parrots(monkeypatch: pytest.MonkeyPatch) -> list[Parrot]:
    """The models that an evaluation trains, in order."""
    trained: list[Parrot] = []

    def fit(
        recipe: object, labelled: Sequence[LabelledPosts], ordinary: Sequence[LabelledPosts]
    ) -> FittedParrot:
        trained.append(Parrot([*labelled, *ordinary]))
        return FittedParrot(trained[-1])

    monkeypatch.setattr(cross_validation, "fit", fit)
    return trained
