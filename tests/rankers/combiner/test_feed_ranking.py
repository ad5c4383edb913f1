"""The changes of a feed, applied one after the other, lead to the feed."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.events import NOW_MS, post
from feedmill.events.feeds import FeedSpec
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.changes import FeedChange
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.positions import RowLookup
from feedmill.rankers.combiner.view import PostView

POSTS = 80


class Stored:
    """A feed as Redis has it, and the ranking whose changes it is told."""

    def __init__(self, size: int, most: int | None, distinct: int) -> None:
        self.view, self.rng = PostView(SignalNames()), np.random.default_rng(size)
        for i in range(POSTS):
            author = f"a{self.rng.integers(12)}"
            self.view.update_post(post(f"p{i}", author_id=author), 1, NOW_MS)
        self.distinct = distinct
        self.score = np.full(POSTS, -np.inf)
        weights = Weights({}, {}, max_per_author=most)
        gates = SimpleNamespace(gates={})
        scores = SimpleNamespace(score=self.score, weights=weights, gates=gates)
        self.scores, self.spec = cast(Any, scores), FeedSpec(size=size)
        self.ranking = self._new()
        self.entries: dict[str, float] = {}
        self.sizes_of_changes: list[int] = []

    def _new(self) -> FeedRanking:
        return FeedRanking(self.view, "f", self.spec, self.scores, RowLookup())

    def make_anew(self) -> None:
        made = self._new()
        made.update(np.arange(POSTS, dtype=np.int32), NOW_MS)
        made.replace(self.ranking)
        self.ranking = made

    def update(self, count: int) -> None:
        rows = self.rng.choice(POSTS, count, replace=False).astype(np.int32)
        hidden = self.rng.random(count) < 0.2
        scores = self.rng.integers(0, self.distinct, count) / 7.0
        self.score[rows] = np.where(hidden, -np.inf, scores)
        self.ranking.update(rows, NOW_MS)

    def write(self) -> None:
        change = self.ranking.change(3)
        if change is None:
            return
        self._apply(change)
        self.sizes_of_changes.append(len(change.entries) + len(change.removed))

    def _apply(self, change: FeedChange) -> None:
        if change.whole:
            self.entries = {}
        for post_id in change.removed:
            del self.entries[post_id]
        self.entries.update(change.entries)
        assert len(self.entries) == change.size


@pytest.mark.parametrize("distinct", [4, 10**6])
@pytest.mark.parametrize(("size", "most"), [(5, None), (5, 2), (200, None), (200, 3)])
def test_changes_of_one_post_and_of_several_lead_to_the_same_feed(
    size: int, most: int | None, distinct: int
) -> None:
    stored = Stored(size, most, distinct)
    for turn in range(400):
        for _ in range(1 if turn % 3 else 2):
            stored.update(1 if turn % 4 else 3)
        if stored.ranking.list.is_short:
            stored.make_anew()
        stored.write()
        rows, scores = stored.ranking.list.best()
        ids = [stored.view.ids[row] for row in rows.tolist()]
        assert stored.entries == dict(zip(ids, scores.tolist(), strict=True))
    # One post that moved, and in a full feed one that falls off or follows.
    assert (2 if size == 5 else 1) in stored.sizes_of_changes
