"""What a text model says of a batch, and why it failed."""

from typing import Any

import numpy as np
import pytest

from builders.events import post
from builders.filter_step import model
from feedmill.features.post_batch import PostBatch
from feedmill.streams.scoring.batch_scores import score_posts


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
