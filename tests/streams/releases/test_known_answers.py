"""What a model says of the sample posts, and what tells two models apart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from builders.model_store import add_version, shipped_store
from feedmill.events.errors import BadArtifact
from feedmill.features.post_batch import PostBatch
from feedmill.streams.releases.known_answers import SAMPLE_POSTS, answers_of, check_answers
from feedmill.streams.releases.loading import MODELS, load_model


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_agrees_with_itself_and_with_no_changed_answer(name: str) -> None:
    model = load_model(name, None)
    answers = answers_of(model)
    assert len(answers) == len(SAMPLE_POSTS) * (2 if name == "engagement" else 1)
    assert len(set(answers)) > len(SAMPLE_POSTS) // 2
    check_answers(model, answers)
    check_answers(model, [one + 9e-7 for one in answers])
    with pytest.raises(BadArtifact, match="of sample 3, where it was released"):
        check_answers(model, [one + 2e-6 * (n == 3) for n, one in enumerate(answers)])
    with pytest.raises(BadArtifact, match="known answers, this build gives"):
        check_answers(model, answers[1:])


def test_another_version_answers_otherwise(tmp_path: Path) -> None:
    store = shipped_store(tmp_path / "store")
    before = answers_of(load_model("spam", store))
    after = answers_of(load_model("spam", store, add_version(store, "spam")))
    assert np.abs(np.subtract(before, after)).max() > 1e-3


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (RuntimeError("out of ideas"), "RuntimeError: out of ideas"),
        *((value, r"expected a number in \[0, 1\]") for value in (float("nan"), -0.1, 1.5)),
    ],
)
def test_a_model_that_raises_or_says_what_is_no_probability_is_refused(
    value: float | Exception, reason: str
) -> None:
    def score_batch(posts: PostBatch) -> np.ndarray:
        if isinstance(value, Exception):
            raise value
        return np.full(len(posts), value)

    model: Any = SimpleNamespace(name="spam", version="0" * 12, score_batch=score_batch)
    with pytest.raises(BadArtifact, match=reason):
        answers_of(model)
