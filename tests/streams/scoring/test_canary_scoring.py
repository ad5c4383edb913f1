"""A candidate judges its partitions alone, and what breaks it elsewhere is no failure of it."""

from typing import Any, cast

import numpy as np
import pytest

from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import Scores
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.scoring.scoring import CanaryScoring
from feedmill.streams.worker.step import PostPartition, WorkBatch


class Model:
    """Says the number that the text is."""

    name, version = "spam", "2"

    def __init__(self) -> None:
        self.batches: list[PostBatch] = []

    def score_batch(self, batch: PostBatch) -> Scores:
        self.batches.append(batch)
        return np.array([float(post.text) for post in batch.posts])


def scored(*partitions: list[str]) -> tuple[CanaryScoring, list[float], BatchVerdicts, Model]:
    """Judge posts of partitions 0, 1, … of which 1 has the candidate; others say 0.5."""
    texts = [text for part in partitions for text in part]
    parts, first = [], 0
    for number, part in enumerate(partitions):
        rows = range(first, first + len(part))
        parts.append(PostPartition(TopicPartition("posts", number), (), rows))
        first = rows.stop
    posts = PostBatch([Post(f"p{i}", "a", 0, text) for i, text in enumerate(texts)])
    work = WorkBatch(1, 7, partitions=parts, posts=posts)
    model = Model()
    canary = CanaryScoring(cast(Any, model), {1})
    champion = BatchVerdicts(np.full(len(texts), 0.5), dict.fromkeys(range(len(texts)), "broken"))
    found = canary.score(work, champion)
    return canary, found.values.tolist(), found, model


def test_only_its_partitions_have_its_verdicts_and_the_features_are_shared() -> None:
    canary, values, verdicts, model = scored(["0.1", "0.2"], ["0.3", "0.4"], ["0.6"])
    assert values == [0.5, 0.5, 0.3, 0.4, 0.5]
    assert set(verdicts.errors) == {0, 1, 4}
    assert len(model.batches) == 1
    assert canary.judges(1)
    assert not canary.judges(0)


def test_without_posts_of_its_own_it_is_not_called() -> None:
    canary, values, _, model = scored(["0.1"])
    assert (values, model.batches, canary.failure) == ([0.5], [], "")


@pytest.mark.parametrize("text", ["no number", "nan", "7"])
def test_a_post_of_another_partition_does_not_stop_it(text: str) -> None:
    canary, values, _, _ = scored([text], ["0.3"])
    assert (values, canary.failure) == ([0.5, 0.3], "")


@pytest.mark.parametrize("text", ["no number", "nan", "7"])
def test_after_a_failure_the_model_in_force_judges(text: str) -> None:
    canary, values, verdicts, _ = scored(["0.1"], ["0.3", text])
    assert values == [0.5] * 3
    assert set(verdicts.errors) == {0, 1, 2}
    assert canary.failure.startswith("ValueError: ")
    assert not canary.judges(1)
