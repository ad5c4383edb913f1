"""What a challenger would change, on which posts, against scores and gates of single posts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from builders.events import NOW_MS
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Policy
from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import ModelVerdict, RuleVerdict, Signal, SignalNames
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.gate_decisions import SHOW, GateVerdict, decide_one, outcomes_of
from feedmill.rankers.score import score_of
from feedmill.streams.releases import model_comparison
from feedmill.streams.releases.model_comparison import (
    DECIDED,
    GONE,
    NO_VALUE,
    OTHER_VERSION,
    PairsFold,
    ShadowPairs,
    decided_otherwise,
    moved_in_top,
    ranking_change,
    rates,
    value_correlation,
)

NAMES = SignalNames()
DEFAULTS = Settings(names=NAMES)
GATES = DEFAULTS.gates_of("")
WEIGHTS = DEFAULTS.weights_of("")
AT_MS = 1_700_000_100_000


def pairs_of(
    model: str, champion: list[float], challenger: list[float], **signals: list[float]
) -> ShadowPairs:
    """Pairs of one author each; signals that are not given are 0, and of the present version."""
    count = len(champion)
    columns = {
        name: np.array(signals.get(name, [0.0] * count), dtype=np.float32)
        for name in NAMES.all
        if name != model
    }
    return ShadowPairs(
        model,
        "old",
        "new",
        tuple(Post(f"p{n}", f"a{n}", 1_700_000_000_000 + n, "text") for n in range(count)),
        np.full(count, AT_MS - 1000, dtype=np.int64),
        np.array(champion, dtype=np.float32),
        np.array(challenger, dtype=np.float32),
        columns,
        {name: np.ones(count, dtype=np.bool_) for name in columns},
        {},
    )


def test_decisions_are_those_of_the_gates_thresholds() -> None:
    pairs = pairs_of("spam", [0.1, 0.61, 0.91, 0.95], [0.95, 0.59, 0.91, 0.65])
    found = rates(pairs, GatePolicy(hide_at=0.9, demote_at=0.6))
    assert found.champion == {"show": 1, "demote": 1, "hide": 2}
    assert found.challenger == {"show": 1, "demote": 1, "hide": 2}
    never = rates(pairs, GatePolicy(enabled=False, hide_at=None, demote_at=None))
    assert never.champion == {"show": 4, "demote": 0, "hide": 0}


def test_posts_that_are_decided_otherwise_are_drawn_by_a_seed_the_largest_first() -> None:
    champion = [n / 100 for n in range(100)]
    pairs = pairs_of("spam", champion, champion[::-1])
    count, drawn = decided_otherwise(pairs, GATES["spam"], 5, 1)
    # From 0.6 on a post is demoted or hidden: 40 by each, and never the same.
    assert count == 80
    sizes = [abs(one.champion - one.challenger) for one in drawn]
    assert len(sizes) == 5
    assert sizes == sorted(sizes, reverse=True)
    for one in drawn:
        assert one.champion == pytest.approx(int(one.post_id[1:]) / 100)
        assert one.champion_does != one.challenger_does
    assert decided_otherwise(pairs, GATES["spam"], 5, 1)[1] == drawn
    assert decided_otherwise(pairs, GATES["spam"], 5, 2)[1] != drawn
    every = decided_otherwise(pairs, GATES["spam"], 200, 1)[1]
    assert len(every) == 80


probability = st.floats(0, 1, width=32)


@given(st.lists(st.tuples(*([probability] * 6)), min_size=1, max_size=20))
def test_a_post_has_the_score_that_the_combiner_gives_it(rows: list[Any]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    champion, challenger, nsfw, misinformation, quality, engagement = columns
    more = {"nsfw": nsfw, "misinformation": misinformation}
    objectives = {"quality": quality, "engagement": engagement}
    pairs = pairs_of("spam", champion, challenger, **more, **objectives)
    scores = model_comparison._scores(pairs, pairs.challenger_values, Policy(WEIGHTS, GATES), AT_MS)
    for n, post in enumerate(pairs.posts):
        verdicts = {
            name: GateVerdict.of(name, values[n], name, "v")
            for name, values in {"spam": challenger, **more}.items()
        }
        outcomes = outcomes_of(GATES, verdicts, {}, AT_MS - 1000, AT_MS)
        decision = decide_one(GATES, outcomes)
        values = {name: column[n] for name, column in objectives.items()}
        values |= dict.fromkeys(WEIGHTS.costs, 0.0)
        expected = score_of(WEIGHTS, values, decision.factor, post.created_at_ms)
        assert scores[n] == pytest.approx(
            expected if decision.code <= SHOW + 1 else -np.inf, abs=1e-9
        )


def test_a_ranker_moves_posts_in_the_best_and_a_missing_value_counts_as_nothing() -> None:
    champion, challenger = [0.9, 0.8, 0.7, 0.1], [0.9, 0.1, 0.7, 0.95]
    pairs = pairs_of("quality", champion, challenger, engagement=[0, 0, 0, np.nan])
    policy = Policy(WEIGHTS, GATES)
    change = ranking_change(pairs, policy, AT_MS, 2)
    assert (change.shown, change.top, change.kept) == (4, 2, 1)
    expected = spearmanr(champion, challenger).statistic
    assert change.correlation == pytest.approx(expected)
    count, drawn = moved_in_top(pairs, policy, AT_MS, 2, 10, 0)
    assert count == 2
    assert [(one.post_id, one.champion_does, one.challenger_does) for one in drawn] == [
        ("p3", "below", "top"),
        ("p1", "top", "below"),
    ]


def test_hidden_posts_are_in_no_ranking() -> None:
    pairs = pairs_of("spam", [0.1, 0.1, 0.95], [0.95, 0.1, 0.95], quality=[0.9, 0.8, 0.7])
    change = ranking_change(pairs, Policy(WEIGHTS, GATES), AT_MS, 50)
    assert (change.shown, change.correlation, change.top, change.kept) == (1, None, 2, 1)


def test_an_author_has_so_many_posts_in_the_best_as_the_weights_allow() -> None:
    pairs = pairs_of("quality", [0.9, 0.8, 0.7], [0.7, 0.8, 0.9])
    posts = tuple(Post(post.post_id, "one", post.created_at_ms, "text") for post in pairs.posts)
    pairs = ShadowPairs(**{**vars(pairs), "posts": posts})
    weights = Weights(objectives=WEIGHTS.objectives, scale=WEIGHTS.scale, max_per_author=1)
    change = ranking_change(pairs, Policy(weights, GATES), AT_MS, 3)
    assert (change.top, change.kept) == (1, 0)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), probability), min_size=2))
def test_the_correlation_is_spearmans(rows: list[tuple[float, float]]) -> None:
    first, second = [list(column) for column in zip(*rows, strict=True)]
    found = value_correlation(pairs_of("spam", first, second))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-9)


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
