"""What a challenger would change, against the score and the gates of single posts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from feedmill.events.experiment import Policy
from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.gate_decisions import SHOW, GateVerdict, decide_one, outcomes_of
from feedmill.rankers.score import score_of
from feedmill.streams.releases import model_comparison
from feedmill.streams.releases.model_comparison import (
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
NOW_MS = 1_700_000_100_000


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
        np.full(count, NOW_MS - 1000, dtype=np.int64),
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
    scores = model_comparison._scores(
        pairs, pairs.challenger_values, Policy(WEIGHTS, GATES), NOW_MS
    )
    for n, post in enumerate(pairs.posts):
        verdicts = {
            name: GateVerdict.of(name, values[n], name, "v")
            for name, values in {"spam": challenger, **more}.items()
        }
        outcomes = outcomes_of(GATES, verdicts, {}, NOW_MS - 1000, NOW_MS)
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
    change = ranking_change(pairs, policy, NOW_MS, 2)
    assert (change.shown, change.top, change.kept) == (4, 2, 1)
    expected = spearmanr(champion, challenger).statistic
    assert change.correlation == pytest.approx(expected)
    count, drawn = moved_in_top(pairs, policy, NOW_MS, 2, 10, 0)
    assert count == 2
    assert [(one.post_id, one.champion_does, one.challenger_does) for one in drawn] == [
        ("p3", "below", "top"),
        ("p1", "top", "below"),
    ]


def test_hidden_posts_are_in_no_ranking() -> None:
    pairs = pairs_of("spam", [0.1, 0.1, 0.95], [0.95, 0.1, 0.95], quality=[0.9, 0.8, 0.7])
    change = ranking_change(pairs, Policy(WEIGHTS, GATES), NOW_MS, 50)
    assert (change.shown, change.correlation, change.top, change.kept) == (1, None, 2, 1)


def test_an_author_has_so_many_posts_in_the_best_as_the_weights_allow() -> None:
    pairs = pairs_of("quality", [0.9, 0.8, 0.7], [0.7, 0.8, 0.9])
    posts = tuple(Post(post.post_id, "one", post.created_at_ms, "text") for post in pairs.posts)
    pairs = ShadowPairs(**{**vars(pairs), "posts": posts})
    weights = Weights(objectives=WEIGHTS.objectives, scale=WEIGHTS.scale, max_per_author=1)
    change = ranking_change(pairs, Policy(weights, GATES), NOW_MS, 3)
    assert (change.top, change.kept) == (1, 0)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), probability), min_size=2))
def test_the_correlation_is_spearmans(rows: list[tuple[float, float]]) -> None:
    first, second = [list(column) for column in zip(*rows, strict=True)]
    found = value_correlation(pairs_of("spam", first, second))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-9)
