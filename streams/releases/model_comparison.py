"""What a challenger would change: decisions at the thresholds in force, and the ranking.

By the code and the formula of the combiner, for posts that both versions scored.  Overrides and
rules are left out: they hold under any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.experiment import Policy
from feedmill.events.gates import GatePolicy
from feedmill.rankers.combiner.gate_decisions import (
    DECISIONS,
    DEMOTE,
    HIDE,
    SHOW,
    DecisionName,
    GateEffect,
    decide_many,
    gate_effect,
)
from feedmill.rankers.combiner.ranked_list import RankedList
from feedmill.rankers.reaction_rates import BASES
from feedmill.rankers.score import scores_of
from feedmill.streams.releases.shadow_pairs import Floats, ShadowPairs

Codes = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float64]


class Rates(NamedTuple):
    """How many of the posts get each decision of the gate alone, by champion and challenger."""

    champion: Mapping[DecisionName, int]
    challenger: Mapping[DecisionName, int]


class RankingChange(NamedTuple):
    """How the ranking of the posts would change.

    Attributes
    ----------
    shown
        How many posts are shown under both.
    correlation
        Spearman's, of their scores; None of fewer than two, or where all are equal.
    top
        How many posts the compared tops have.
    kept
        How many of them are the same.
    """

    shown: int
    correlation: float | None
    top: int
    kept: int


class Disagreement(NamedTuple):
    """A post that both treat differently: ids, values, and what each does with it."""

    post_id: str
    champion: float
    challenger: float
    champion_does: str
    challenger_does: str


def rates(pairs: ShadowPairs, gate: GatePolicy) -> Rates:
    """Return the decisions of a filter's gate, whether or not it is required at present."""
    both = (_codes(pairs, gate, values) for values in _both(pairs))
    return Rates(*(_counts(codes) for codes in both))


def value_correlation(pairs: ShadowPairs) -> float | None:
    """Return Spearman's correlation of the values; None of fewer than two, or all equal."""
    return _rank_correlation(*_both(pairs))


def ranking_change(pairs: ShadowPairs, policy: Policy, now_ms: int, size: int) -> RankingChange:
    """Return how the best `size` posts and the order of all that both show would change."""
    scores = [_scores(pairs, values, policy, now_ms) for values in _both(pairs)]
    shown = np.isfinite(scores[0]) & np.isfinite(scores[1])
    tops = [set(_top(pairs, one, policy, size)) for one in scores]
    correlation = _rank_correlation(scores[0][shown], scores[1][shown])
    most = max(len(one) for one in tops)
    return RankingChange(int(shown.sum()), correlation, most, len(tops[0] & tops[1]))


def decided_otherwise(
    pairs: ShadowPairs, gate: GatePolicy, most: int, seed: int
) -> tuple[int, list[Disagreement]]:
    """Return how many posts the gate decides otherwise, and some of them; see `_drawn`."""
    codes = [_codes(pairs, gate, values) for values in _both(pairs)]
    places = np.flatnonzero(codes[0] != codes[1])
    does = [[str(DECISIONS[code]) for code in one.tolist()] for one in codes]
    return len(places), _drawn(pairs, places, does, most, seed)


def moved_in_top(
    pairs: ShadowPairs, policy: Policy, now_ms: int, size: int, most: int, seed: int
) -> tuple[int, list[Disagreement]]:
    """Return how many posts enter or leave the best `size`, and some of them; see `_drawn`."""
    tops = [
        set(_top(pairs, _scores(pairs, values, policy, now_ms), policy, size))
        for values in _both(pairs)
    ]
    places = np.array(sorted(tops[0] ^ tops[1]), dtype=np.int64)
    does = [["top" if n in one else "below" for n in range(len(pairs))] for one in tops]
    return len(places), _drawn(pairs, places, does, most, seed)


def _drawn(
    pairs: ShadowPairs,
    places: npt.NDArray[np.int64],
    does: Sequence[Sequence[str]],
    most: int,
    seed: int,
) -> list[Disagreement]:
    """Return at most so many of the posts, drawn by the seed; the largest difference first."""
    random = np.random.default_rng(seed)
    chosen = random.choice(places, min(most, len(places)), replace=False).tolist()
    found = [
        Disagreement(
            pairs.posts[n].post_id,
            float(pairs.champion_values[n]),
            float(pairs.challenger_values[n]),
            does[0][n],
            does[1][n],
        )
        for n in chosen
    ]
    return sorted(found, key=lambda one: (-abs(one.champion - one.challenger), one.post_id))


def _both(pairs: ShadowPairs) -> tuple[Floats, Floats]:
    return pairs.champion_values, pairs.challenger_values


def _codes(pairs: ShadowPairs, gate: GatePolicy, values: Floats) -> Codes:
    """Return the decision of one gate of each post: (n,)."""
    judged = np.ones(len(pairs), dtype=np.bool_)
    effect: GateEffect[npt.NDArray[np.bool_]]
    effect = gate_effect(gate, values, judged, pairs.arrived_ms, 0)
    codes = np.where(effect.demotes, np.uint8(DEMOTE), np.uint8(SHOW))
    codes[effect.hides] = HIDE
    return codes


def _counts(codes: Codes) -> dict[DecisionName, int]:
    numbers = np.bincount(codes, minlength=HIDE + 1).tolist()
    return {DECISIONS[code]: numbers[code] for code in (SHOW, DEMOTE, HIDE)}


def _scores(pairs: ShadowPairs, values: Floats, policy: Policy, now_ms: int) -> Scores:
    """Return the score of each post where the model says these values: (n,), -inf: not shown."""
    signals = {**pairs.signals, pairs.model: values}
    judged = {**pairs.judged, pairs.model: np.ones(len(pairs), dtype=np.bool_)}
    codes, factor = decide_many(policy.gates, signals, judged, pairs.arrived_ms, now_ms)
    weights = policy.weights
    # What an objective or a cost without a value is.
    named = {n: np.nan_to_num(signals[n], nan=BASES.get(n, 0.0)) for n in weights.signals}
    created_ms = np.array([post.created_at_ms for post in pairs.posts], dtype=np.int64)
    scores: Scores = scores_of(weights, named, factor, created_ms)
    scores[codes > DEMOTE] = -np.inf
    return scores


def _top(pairs: ShadowPairs, scores: Scores, policy: Policy, size: int) -> list[int]:
    """Return the places of the best posts."""
    authors = {post.author_id: n for n, post in enumerate(pairs.posts)}
    of_posts = np.array([authors[post.author_id] for post in pairs.posts], dtype=np.int32)
    ids = [post.post_id for post in pairs.posts]
    best = RankedList(size, policy.weights.max_per_author, ids)
    best.update(np.arange(len(pairs), dtype=np.int32), scores, of_posts)
    return [int(row) for row in best.best()[0]]


def _rank_correlation(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]
) -> float | None:
    """Return Spearman's correlation: that of the ranks, equal values having their mean rank."""
    if len(first) < 2:
        return None
    ranks = [_ranks(first), _ranks(second)]
    if any(one.min() == one.max() for one in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: npt.NDArray[np.floating]) -> Scores:
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Scores = (last - (counts - 1) / 2)[at]
    return ranks
