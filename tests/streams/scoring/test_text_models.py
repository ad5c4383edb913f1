"""What a text model says of a batch, and why it failed; a candidate judges its partitions alone."""

from typing import Any

import numpy as np
import pytest

from builders.events import post
from builders.filter_step import model
from feedmill.features.post_batch import PostBatch
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.scoring.text_models import BatchScores, CanaryScoring, score_posts
from feedmill.streams.worker.step import PostPartition, WorkBatch


def number_of(one: Any) -> float:
    """Return the number that a post's text is; raises where it is none."""
    return float(one.text)


def batch(*texts: str) -> PostBatch:
    return PostBatch([post(f"p{i}", text=text) for i, text in enumerate(texts)])


def scored(*texts: str) -> tuple[list[float], dict[int, str]]:
    """The values of posts with these texts that have one, and the errors of the others."""
    verdicts = score_posts(model(number_of), batch(*texts))
    values = [v for i, v in enumerate(verdicts.values.tolist()) if i not in verdicts.errors]
    return values, dict(verdicts.errors)


def test_a_model_that_raises_on_one_post_takes_no_other_along() -> None:
    values, errors = scored("0.25", "not a number", "0.75")
    assert values == [0.25, 0.75]
    assert errors == {1: "ValueError: could not convert string to float: 'not a number'"}
    assert scored() == ([], {})


@pytest.mark.parametrize("value", ["nan", "1.5", "-0.1", "inf"])
@pytest.mark.parametrize("other", ["0.5", "not a number"], ids=["whole", "one-by-one"])
def test_a_value_that_no_signal_may_have_is_an_error(value: str, other: str) -> None:
    values, errors = scored("0.25", value, other)
    assert errors[1] == f"the model returned {np.float64(value)!r}, outside [0, 1]"
    assert values[0] == 0.25
    assert set(errors) == ({1} if other == "0.5" else {1, 2})


def judged(*partitions: list[str]) -> tuple[CanaryScoring, list[float], set[int], list[int]]:
    """Judge posts of partitions 0, 1, … of which 1 has the candidate; others say 0.5 and an error.

    Returns the candidate, values, rows with errors, and the sizes of the batches that it got.
    """
    parts, first, sizes = [], 0, []
    for number, part in enumerate(partitions):
        rows = range(first, first + len(part))
        parts.append(PostPartition(TopicPartition("posts", number), (), rows))
        first = rows.stop
    posts = batch(*(text for part in partitions for text in part))
    candidate: Any = model(number_of, "2")
    score, champion = candidate.score_batch, BatchScores(np.full(first, 0.5), {})
    champion.errors = dict.fromkeys(range(first), "broken")

    def noted(some: PostBatch) -> Any:
        sizes.append(len(some))
        return score(some)

    candidate.score_batch = noted
    canary = CanaryScoring(candidate, {1})
    found = canary.score(WorkBatch(7, partitions=parts, posts=posts), champion)
    return canary, found.values.tolist(), set(found.errors), sizes


def test_only_its_partitions_have_its_verdicts_and_the_features_are_shared() -> None:
    canary, values, errors, sizes = judged(["0.1", "0.2"], ["0.3", "0.4"], ["0.6"])
    assert (values, errors) == ([0.5, 0.5, 0.3, 0.4, 0.5], {0, 1, 4})
    assert sizes == [5]
    assert [canary.judges(partition) for partition in (0, 1)] == [False, True]
    # Without posts of its own it is not called.
    canary, values, _, sizes = judged(["0.1"])
    assert (values, sizes, canary.failure) == ([0.5], [], "")


@pytest.mark.parametrize("text", ["no number", "nan", "7"])
def test_it_fails_by_its_own_posts_alone_and_then_the_model_in_force_judges(text: str) -> None:
    canary, values, _, _ = judged([text], ["0.3"])
    assert (values, canary.failure) == ([0.5, 0.3], "")
    canary, values, errors, _ = judged(["0.1"], ["0.3", text])
    assert (values, errors) == ([0.5] * 3, {0, 1, 2})
    assert canary.failure.startswith("ValueError: ")
    assert not canary.judges(1)
