"""What a challenger would change: decisions at the thresholds in force, and the ranking.

By the code and the formula of the combiner, for posts that both versions scored.  Overrides and
rules are left out: they hold under any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.decode import decode_post, decode_signal
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.experiment import Policy
from feedmill.events.gates import GatePolicy
from feedmill.events.newest_signals import NewestSignals
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import RULE_MODEL, ModelVerdict, Signal, SignalNames
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
from feedmill.rankers.score import scores_of

Floats = npt.NDArray[np.float32]

GONE = "posts that are gone, or were edited since"
DECIDED = "posts that something else than the model decided"
NO_VALUE = "posts of which the champion has no value"
OTHER_VERSION = "posts that another version of the champion judged"
Codes = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShadowPairs:
    """The n posts that both scored, in the order of their ids.

    Attributes
    ----------
    model, champion, challenger
        The model, and the two versions.
    posts
        Their present versions; `created_at_ms` is never after their records.
    arrived_ms
        The timestamps of their records, Unix milliseconds: (n,).
    champion_values, challenger_values
        What each says: (n,) float32 in [0, 1].
    signals
        By name, the values of every other signal: (n,) float32, NaN where there is none.
    judged
        By name, whether that value is of the present version of the post: (n,) bool.
    left_out
        How many posts that the challenger scored are not among them, by the reason.
    """

    model: str
    champion: str
    challenger: str
    posts: tuple[Post, ...]
    arrived_ms: npt.NDArray[np.int64]
    champion_values: Floats
    challenger_values: Floats
    signals: Mapping[str, Floats]
    judged: Mapping[str, npt.NDArray[np.bool_]]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.posts)


class _Version(NamedTuple):
    """The present version of a post: its offset, the timestamp of its record, the post."""

    offset: int
    at_ms: int
    post: Post


class PairsFold:
    """Takes the records of `shadow`, then of `posts`, then of the signals.

    `challenger` is the version of the model that scored in shadow; `names` are all signals.
    """

    def __init__(self, model: str, challenger: str, names: SignalNames) -> None:
        self._model = model
        self._challenger = challenger
        self._names = names
        self._scored: dict[str, Signal] = {}
        self._posts: dict[str, _Version] = {}
        self._signals = {name: NewestSignals(name, names, _whole) for name in names.all}

    def add_shadow(self, key: bytes | None, value: bytes | None) -> None:
        """Take a record of `shadow`; those of other models and versions are passed over."""
        try:
            signal = decode_signal(self._model, self._names, key, value or b"")
        except BadEvent:
            return
        if (signal.model, signal.version) == (self._model, self._challenger):
            self._scored[signal.post_id] = signal

    def add_post(self, key: bytes | None, value: bytes | None, offset: int, at_ms: int) -> None:
        """Take a record of `posts`; posts that the challenger did not score are passed over."""
        if key is None or key.decode("utf-8", "replace") not in self._scored:
            return
        try:
            post = decode_post(key, value)
        except BadEvent:
            return
        if isinstance(post, Deletion):
            self._posts.pop(post.post_id, None)
            return
        post = msgspec.structs.replace(post, created_at_ms=min(post.created_at_ms, at_ms))
        self._posts[post.post_id] = _Version(offset, at_ms, post)

    def add_signal(self, name: str, key: bytes | None, value: bytes | None) -> None:
        """Take a record of `signals.<name>`."""
        if key is None or key.decode("utf-8", "replace") not in self._posts:
            return
        self._signals[name].add(key, value)

    def pairs(self) -> ShadowPairs:
        """Return the posts of which both have a value.

        The champion is the version that judged last.

        Raises `UsageError`: that is the challenger: it was released meanwhile.
        """
        left_out: dict[str, int] = {}
        verdicts = {}
        for post_id, scored in sorted(self._scored.items()):
            verdict, reason = self._champion_verdict(post_id, scored)
            if verdict is None:
                left_out[reason] = left_out.get(reason, 0) + 1
            else:
                verdicts[post_id] = verdict
        last = max(verdicts, key=lambda i: (self._judged_ms(i), i), default=None)
        champion = "" if last is None else verdicts[last].version
        if champion == self._challenger:
            raise UsageError(
                f"{champion} is in force: nothing is left to compare; --version names another one"
            )
        ids = [i for i, verdict in verdicts.items() if verdict.version == champion]
        if len(ids) < len(verdicts):
            left_out[OTHER_VERSION] = len(verdicts) - len(ids)
        others = [name for name in self._names.all if name != self._model]
        columns = {name: self._column(name, ids) for name in others}
        return ShadowPairs(
            self._model,
            champion,
            self._challenger,
            tuple(self._posts[i].post for i in ids),
            np.array([self._posts[i].at_ms for i in ids], dtype=np.int64),
            np.array([verdicts[i].value for i in ids], dtype=np.float32),
            np.array([self._scored[i].value for i in ids], dtype=np.float32),
            {name: values for name, (values, _) in columns.items()},
            {name: judged for name, (_, judged) in columns.items()},
            left_out,
        )

    def _champion_verdict(self, post_id: str, scored: Signal) -> tuple[ModelVerdict | None, str]:
        """Return what the champion says of the version that was scored, or why it is left out."""
        version = self._posts.get(post_id)
        if version is None or version.offset != scored.post_offset:
            return None, GONE
        signal = self._signals[self._model].get(post_id)
        if signal is None or signal.post_offset != scored.post_offset:
            return None, NO_VALUE
        verdict = signal.overruled
        if signal.model != RULE_MODEL:
            verdict = ModelVerdict(
                signal.value, signal.model, signal.version, signal.error, signal.reason
            )
        if verdict is None or verdict.reason is not None:
            return None, DECIDED
        return (None, NO_VALUE) if verdict.value is None else (verdict, "")

    def _judged_ms(self, post_id: str) -> int:
        signal = self._signals[self._model].get(post_id)
        return -1 if signal is None else signal.at_ms

    def _column(self, name: str, ids: list[str]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return a signal's values, and whether each is of the present version: (n,) both."""
        found = [self._signals[name].get(i) for i in ids]
        values = [np.nan if s is None or s.value is None else s.value for s in found]
        judged = [
            s is not None and s.post_offset == self._posts[i].offset
            for i, s in zip(ids, found, strict=True)
        ]
        return np.array(values, dtype=np.float32), np.array(judged, dtype=np.bool_)


def _whole(signal: Signal) -> Signal:
    return signal


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
    tops = [set(_top(pairs, values, policy, size)) for values in scores]
    correlation = _rank_correlation(scores[0][shown], scores[1][shown])
    most = max(len(top) for top in tops)
    return RankingChange(int(shown.sum()), correlation, most, len(tops[0] & tops[1]))


def decided_otherwise(
    pairs: ShadowPairs, gate: GatePolicy, most: int, seed: int
) -> tuple[int, list[Disagreement]]:
    """Return how many posts the gate decides otherwise, and some of them; see `_drawn`."""
    codes = [_codes(pairs, gate, values) for values in _both(pairs)]
    places = np.flatnonzero(codes[0] != codes[1])
    does = [[str(DECISIONS[code]) for code in decided.tolist()] for decided in codes]
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
    does = [["top" if n in top else "below" for n in range(len(pairs))] for top in tops]
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
    return sorted(found, key=lambda post: (-abs(post.champion - post.challenger), post.post_id))


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
    named = {n: np.nan_to_num(signals[n], nan=weights.bases.get(n, 0.0)) for n in weights.signals}
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
    if any(ranked.min() == ranked.max() for ranked in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: npt.NDArray[np.floating]) -> Scores:
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Scores = (last - (counts - 1) / 2)[at]
    return ranks
