"""A rule has the last word, and what it overruled comes back as it was."""

import numpy as np
import pytest

from feedmill.events.decode import decode_signal, encode
from feedmill.events.signal import ModelVerdict, RuleVerdict, Signal, SignalNames
from feedmill.streams.scoring.batch_scores import BatchScores

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
