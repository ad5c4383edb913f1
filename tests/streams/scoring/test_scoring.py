"""A text model on a batch of posts: what it says, and why it failed, post by post."""

from collections.abc import Sequence

import numpy as np
import pytest

from builders.events import post
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores
from feedmill.streams.scoring.scoring import score_posts


class Model:
    """Returns the number that a post's text is; raises where it is none."""

    name = "spam"
    version = "v1"

    def score_many(self, posts: Sequence[Post]) -> Scores:
        return np.array([float(one.text) for one in posts])

    def score_batch(self, batch: PostBatch) -> Scores:
        return self.score_many(batch.posts)


def scored(*texts: str) -> tuple[list[float], dict[int, str]]:
    """The values of posts with these texts that have one, and the errors of the others."""
    posts = PostBatch([post(f"p{i}", text=text) for i, text in enumerate(texts)])
    verdicts = score_posts(Model(), posts)
    values = [v for i, v in enumerate(verdicts.values.tolist()) if i not in verdicts.errors]
    return values, dict(verdicts.errors)


def test_a_model_that_raises_on_one_post_takes_no_other_along() -> None:
    values, errors = scored("0.25", "not a number", "0.75")
    assert values == [0.25, 0.75]
    assert errors == {1: "ValueError: could not convert string to float: 'not a number'"}


@pytest.mark.parametrize("value", ["nan", "1.5", "-0.1", "inf"])
@pytest.mark.parametrize("other", ["0.5", "not a number"], ids=["whole", "one-by-one"])
def test_a_value_that_no_signal_may_have_is_an_error(value: str, other: str) -> None:
    values, errors = scored("0.25", value, other)
    assert errors[1] == f"the model returned {np.float64(value)!r}, outside [0, 1]"
    assert values[0] == 0.25
    assert set(errors) == ({1} if other == "0.5" else {1, 2})


def test_no_posts_are_no_work_for_the_model() -> None:
    assert scored() == ([], {})
