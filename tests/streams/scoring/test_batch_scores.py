"""What a text model says of a batch, why it failed, and that a rule has the last word."""

from typing import Any

import numpy as np
import pytest

from builders.events import post
from builders.filter_step import model
from feedmill.events.decode import decode_signal, encode
from feedmill.events.signal import ModelVerdict, RuleVerdict, Signal, SignalNames
from feedmill.features.post_batch import PostBatch
from feedmill.streams.scoring.batch_scores import BatchScores, score_posts


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


MODEL, CAPPED, CAMPAIGN, FAILED = range(4)
REASONS = {CAPPED: "capped: lang:en has 31% flagged", CAMPAIGN: "copy of 9 posts by 9 authors"}


def verdicts() -> BatchScores:
    """A post of the model alone, one that is capped, one in a campaign, one it failed on."""
    said = BatchScores(np.array([0.1, 0.95, 0.2, 0.0]), {FAILED: "out of memory"})
    said.lower({CAPPED: (0.6, REASONS[CAPPED])})
    said.raise_to(range(2, 3), np.array([0.97]), lambda _: REASONS[CAMPAIGN])
    return said


def signal(said: BatchScores, row: int, at_ms: int = 5) -> Signal:
    return next(said.signals([(row, f"p{row}", row, "abc")], at_ms, "spam"))


@pytest.mark.parametrize("row", [MODEL, CAPPED, CAMPAIGN, FAILED])
def test_a_rule_keeps_what_it_overrules(row: int) -> None:
    free, with_rule = signal(verdicts(), row), verdicts()
    with_rule.rules[row] = RuleVerdict("friends", 0.0)
    shown = signal(with_rule, row)
    assert (shown.model, shown.version, shown.value) == ("rule", "friends", 0.0)
    assert (shown.error, shown.reason) == (None, None)
    read = decode_signal("spam", SignalNames(), f"p{row}".encode(), encode(shown))
    assert read == shown
    assert free.reason == REASONS.get(row)
    assert read.without_rule(5) == free


def test_one_rule_after_another_keeps_the_first_opinion() -> None:
    free = signal(verdicts(), CAMPAIGN)
    with_rule = free.with_rule(RuleVerdict("soft", 0.75), 6).with_rule(RuleVerdict("hard", 1.0), 7)
    assert (with_rule.version, with_rule.value, with_rule.at_ms) == ("hard", 1.0, 7)
    assert with_rule.overruled == ModelVerdict(free.value, "spam", "abc", None, REASONS[CAMPAIGN])
    assert with_rule.without_rule(5) == free
    assert free.without_rule(9) is free


def test_a_rule_of_somebody_else_stays() -> None:
    foreign = Signal("p", 0, 1.0, "rule", "r", 5)
    assert foreign.without_rule(6) is foreign
    assert foreign.with_rule(RuleVerdict("s", 0.0), 6).overruled is None
