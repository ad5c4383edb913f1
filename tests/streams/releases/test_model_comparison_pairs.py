"""Which posts a champion and its challenger are compared on, and with which values."""

from typing import Any

import numpy as np
import pytest

from builders.events import NOW_MS
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.events.signal import ModelVerdict, RuleVerdict, Signal, SignalNames
from feedmill.streams.releases.model_comparison import (
    DECIDED,
    GONE,
    NO_VALUE,
    OTHER_VERSION,
    PairsFold,
)

OLD, NEW = "old", "new"


class Log:
    """The records of spam, which has the challenger `NEW`."""

    def __init__(self) -> None:
        self.fold = PairsFold("spam", NEW, SignalNames())

    def shadow(self, post_id: str, offset: int, value: float, **more: Any) -> None:
        fields = {"model": "spam", "version": NEW, **more}
        signal = Signal(post_id, offset, value, at_ms=1, **fields)
        self.fold.add_shadow(post_id.encode(), encode(signal))

    def post(self, post_id: str, offset: int, at_ms: int = 1000) -> None:
        post = Post(post_id, "author", NOW_MS, "text")
        self.fold.add_post(post_id.encode(), encode(post), offset, at_ms)

    def signal(self, name: str, post_id: str, offset: int, value: float, **more: Any) -> None:
        fields = {"model": name, "version": OLD, "at_ms": 5, **more}
        self.add_signal(name, Signal(post_id, offset, value, **fields))

    def add_signal(self, name: str, signal: Signal) -> None:
        self.fold.add_signal(name, signal.post_id.encode(), encode(signal))


def test_both_values_of_the_present_version_meet_with_the_other_signals() -> None:
    log = Log()
    for post_id, value in (("b", 0.75), ("a", 0.5)):
        log.shadow(post_id, 7, value)
        log.post(post_id, 7)
        log.signal("spam", post_id, 7, value / 2)
    log.signal("nsfw", "a", 7, 0.25)
    log.signal("nsfw", "b", 6, 0.125)
    log.signal("quality", "b", 3, 0.7)
    pairs = log.fold.pairs()
    assert (pairs.champion, pairs.challenger, len(pairs)) == (OLD, NEW, 2)
    assert [post.post_id for post in pairs.posts] == ["a", "b"]
    assert [post.created_at_ms for post in pairs.posts] == [1000, 1000]
    assert pairs.arrived_ms.tolist() == [1000, 1000]
    assert pairs.challenger_values.tolist() == [0.5, 0.75]
    assert pairs.champion_values.tolist() == [0.25, 0.375]
    assert pairs.signals["nsfw"].tolist() == [0.25, 0.125]
    assert pairs.judged["nsfw"].tolist() == [True, False]
    np.testing.assert_array_equal(pairs.signals["quality"], np.array([np.nan, 0.7], np.float32))
    assert "spam" not in pairs.signals
    assert pairs.left_out == {}


def test_what_cannot_be_compared_is_left_out_with_the_reason() -> None:
    log = Log()
    for n, post_id in enumerate("abcdefgh"):
        log.shadow(post_id, n, 0.5)
        if post_id != "a":
            log.post(post_id, n)
    # `a` never came, `b` was edited, `c` deleted.
    log.post("b", 20)
    log.fold.add_post(b"c", None, 21, 1000)
    # A rule without a verdict of the model under it, and a campaign.
    plain = Signal("d", 3, 0.1, "spam", OLD, 5)
    log.add_signal("spam", Signal("d", 3, 1.0, "rule", "no-casino", 5))
    log.signal("spam", "e", 4, 0.95, reason="copy of 12 posts")
    # `f` has no signal, `g` is judged by another version than `h`, which was judged last.
    log.signal("spam", "g", 6, 0.3, version="older", at_ms=4)
    log.signal("spam", "h", 7, 0.3)
    pairs = log.fold.pairs()
    assert [post.post_id for post in pairs.posts] == ["h"]
    assert pairs.left_out == {GONE: 3, DECIDED: 2, NO_VALUE: 1, OTHER_VERSION: 1}

    # Under a rule the model's own verdict counts.
    log.add_signal("spam", plain.with_rule(RuleVerdict("no-casino", 1.0), 6))
    pairs = log.fold.pairs()
    assert [post.post_id for post in pairs.posts] == ["d", "h"]
    assert pairs.champion_values[0] == np.float32(0.1)
    failed = ModelVerdict(None, "spam", OLD, "it raised")
    log.add_signal("spam", Signal("d", 3, 1.0, "rule", "r", 6, overruled=failed))
    assert log.fold.pairs().left_out[NO_VALUE] == 2


def test_other_models_and_versions_in_shadow_are_passed_over() -> None:
    log = Log()
    log.shadow("a", 1, 0.5, version="another")
    log.shadow("b", 1, 0.5, model="nsfw")
    log.fold.add_shadow(b"c", b"no JSON")
    log.post("a", 1)
    log.signal("spam", "a", 1, 0.5)
    assert (len(log.fold.pairs()), log.fold.pairs().left_out) == (0, {})


def test_a_late_signal_of_a_lower_revision_is_ignored_and_an_empty_one_withdraws() -> None:
    log = Log()
    log.shadow("a", 1, 0.5)
    log.post("a", 1)
    log.signal("spam", "a", 1, 0.25, revision=2)
    log.signal("spam", "a", 1, 0.75, revision=1)
    assert log.fold.pairs().champion_values.tolist() == [0.25]
    log.fold.add_signal("spam", b"a", None)
    assert len(log.fold.pairs()) == 0


def test_a_challenger_that_was_released_is_not_compared_with_itself() -> None:
    log = Log()
    log.shadow("a", 1, 0.5)
    log.post("a", 1)
    log.signal("spam", "a", 1, 0.5, version=NEW)
    with pytest.raises(UsageError, match="new is in force"):
        log.fold.pairs()
