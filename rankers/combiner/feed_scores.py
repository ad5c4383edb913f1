"""The scores of all posts under each policy in use, computed once however many feeds share it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.experiment import Policy
from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.columns import Flags
from feedmill.rankers.combiner.gate_decisions import DEMOTE, GateDecisions
from feedmill.rankers.combiner.signal_columns import RowSelection
from feedmill.rankers.score import score_of, scores_of
from feedmill.tables.mapped_column import MappedColumn

if TYPE_CHECKING:
    from feedmill.rankers.combiner.view import PostView

# Fewer rows are scored one by one: numpy's calls for all of them would take longer.
_MANY_FROM = 8
_encode = msgspec.json.Encoder(order="sorted").encode


class FeedScores:
    """The score of every post for the feeds that share these weights and gates.

    Attributes
    ----------
    score
        By row, ``-inf`` where the post is not shown; it grows at an update.
    """

    def __init__(self, weights: Weights, gates: GateDecisions) -> None:
        self.view = view = gates.view
        self.weights = weights
        self.gates = gates
        self.score = MappedColumn(np.float64, -np.inf)
        self.score.grow(view.capacity, is_filled=False)  # `update` fills all rows in parts

    def update(self, rows: RowSelection) -> Flags:
        """Score these rows, decided before; return whether each is shown now, or was."""
        view = self.view
        self.grow()
        values = {name: view.signals[name].value.values[rows] for name in self.weights.signals}
        created_ms = view.post.created_ms[rows]
        total = scores_of(self.weights, values, self.gates.factor.values[rows], created_ms)
        total[self.gates.code.values[rows] > DEMOTE] = -np.inf
        is_shown: Flags = np.maximum(self.score.values[rows], total) > -np.inf
        self.score.values[rows] = total
        return is_shown

    def update_one(self, row: int, created_ms: int, values: dict[str, float]) -> bool:
        """Do what `update` does for one row, to the last bit; there must be room for the row.

        `values` are those of its signals that were read so far; the others are added to it.
        """
        before, total = self.score.cells[row], -math.inf
        if self.gates.code.cells[row] <= DEMOTE:
            for name in self.weights.signals:
                if name not in values:
                    values[name] = self.view.signals[name].value.cells[row]
            factor = self.gates.factor.cells[row]
            total = score_of(self.weights, values, factor, created_ms)
        self.score.cells[row] = total
        return bool(max(before, total) > -math.inf)

    def grow(self) -> None:
        """Make room for all rows of the view."""
        self.gates.grow()
        self.score.grow(self.view.capacity)


class PolicyCache:
    """`GateDecisions` by gate policy, and `FeedScores` by weights and policy, over one view.

    New scores and decisions are unfinished until their maker has gone over all rows with `fill` and
    called `finish`.  Rows that change meanwhile are kept up to date everywhere.
    """

    def __init__(self, view: PostView) -> None:
        self.view = view
        self._decisions: dict[bytes, GateDecisions] = {}
        self._scores: dict[bytes, FeedScores] = {}
        self._new_decisions: list[GateDecisions] = []
        self._new_scores: list[FeedScores] = []
        self._keys: dict[str, bytes] = {}  # by feed, "" for most, under the settings
        self._keyed: Settings | None = None

    @property
    def has_unfinished(self) -> bool:
        """Whether some decisions or scores were not computed for all posts yet."""
        return bool(self._new_decisions or self._new_scores)

    def scores(self, settings: Settings, feed: str) -> FeedScores:
        """The scores for a feed, perhaps unfinished."""
        scores = self._scores.get(self._key(settings, feed))
        return scores or self.scores_by(_policy(settings, feed))

    def scores_by(self, policy: Policy) -> FeedScores:
        """The scores under a policy, perhaps unfinished."""
        key = _key_of(policy)
        scores = self._scores.get(key)
        if scores is None:
            scores = FeedScores(policy.weights, self.decisions(policy.gates))
            self._scores[key] = scores
            self._new_scores.append(scores)
        return scores

    def decisions(self, gates: Mapping[str, GatePolicy]) -> GateDecisions:
        """The decisions under a policy, perhaps unfinished."""
        key = _encode(dict[str, Any](gates))
        decisions = self._decisions.get(key)
        if decisions is None:
            decisions = self._decisions[key] = GateDecisions(self.view, gates)
            self._new_decisions.append(decisions)
        return decisions

    def all_decisions(self) -> Iterator[GateDecisions]:
        """The decisions under every policy in use."""
        yield from self._decisions.values()

    def update(
        self, rows: npt.NDArray[np.int32], judged: npt.NDArray[np.int32], now_ms: int
    ) -> Flags:
        """Score these rows under every policy in use, and decide them where needed.

        `judged` are the rows in which more changed than signals of objectives: only they are
        decided, unless a grace may have ended.  Returns whether each is shown, or was, under some
        policy.
        """
        for decisions in self._decisions.values():
            due = rows if decisions.has_open_gate else judged
            if len(due):
                decisions.update(due, now_ms)
        are_shown: Flags = np.zeros(len(rows), bool)
        if len(rows) >= _MANY_FROM:
            for scores in self._scores.values():
                are_shown |= scores.update(rows)
            return are_shown
        for scores in self._scores.values():
            scores.grow()
        for place, row in enumerate(rows.tolist()):
            # Time and values are read once for all policies.
            created_ms, values = self.view.post.created_ms.item(row), dict[str, float]()
            for scores in self._scores.values():
                if scores.update_one(row, created_ms, values):
                    are_shown[place] = True
        return are_shown

    def fill(self, rows: RowSelection, now_ms: int) -> None:
        """Decide and score these rows where decisions and scores are unfinished."""
        for decisions in self._new_decisions:
            decisions.update(rows, now_ms)
        for scores in self._new_scores:
            scores.update(rows)

    def finish(self) -> None:
        """Count all as finished: all rows were filled."""
        self._new_decisions.clear()
        self._new_scores.clear()

    def keep(self, in_use: Iterable[FeedScores], default: GateDecisions) -> list[object]:
        """Forget all scores but these, and all decisions that neither they nor the default use.

        The default decisions stay, because `signals:<post_id>` has them.  Returns what is
        forgotten, for the caller to free: each has columns of all posts.
        """
        kept = {id(scores) for scores in in_use}
        unused: list[object] = [
            self._scores.pop(key) for key, s in [*self._scores.items()] if id(s) not in kept
        ]
        kept = {id(default), *(id(scores.gates) for scores in self._scores.values())}
        for key, decisions in [*self._decisions.items()]:
            if id(decisions) not in kept:
                unused.append(self._decisions.pop(key))
        return unused

    def _key(self, settings: Settings, feed: str) -> bytes:
        if feed not in settings.weights and feed not in settings.gates:
            feed = ""
        if self._keyed is not settings:
            self._keyed, self._keys = settings, {}
        key = self._keys.get(feed)
        if key is None:
            key = self._keys[feed] = _key_of(_policy(settings, feed))
        return key


def _key_of(policy: Policy) -> bytes:
    return _encode([policy.weights.shown(), dict(policy.gates)])


def _policy(settings: Settings, feed: str) -> Policy:
    return Policy(settings.weights_of(feed), settings.gates_of(feed))
