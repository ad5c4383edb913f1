"""One post is scored as many are, to the last bit."""

import numpy as np
import pytest

from builders.events import DAY_MS, NOW_MS, post, signal
from feedmill.events.gates import GatePolicy
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.feed_scores import FeedScores
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.view import PostView

POSTS = 200
SCALE = {"quality": 1.0, "engagement": 10.0}


@pytest.mark.parametrize("half_life_hours", [24.0, 0.3, None])
@pytest.mark.parametrize("quality", [0.7, 0.0])
def test_one_row_is_scored_as_many_are(half_life_hours: float | None, quality: float) -> None:
    view, rng = PostView(SignalNames(costs=("grumble",))), np.random.default_rng(1)
    for i in range(POSTS):
        created_ms = NOW_MS - int(rng.integers(DAY_MS))
        view.update_post(post(f"p{i}", created_at_ms=created_ms), 1, NOW_MS)
        for name in view.names.all:
            if rng.random() < 0.9:
                view.update_signal(name, signal(f"p{i}", 1, float(np.float32(rng.random()))))
    gates = {"spam": GatePolicy(hide_at=0.9, demote_at=0.5, demote_factor=0.3)}
    decisions = GateDecisions(view, gates)
    objectives, costs = {"quality": quality, "engagement": 0.3}, {"grumble": 1.3}
    weights = Weights(objectives, SCALE, half_life_hours, costs=costs)
    together, apart = FeedScores(weights, decisions), FeedScores(weights, decisions)
    rows = np.arange(POSTS, dtype=np.int32)
    # New columns of millions of rows are left to `update`, which comes in parts.
    assert not np.isneginf(together.score.values).any()
    assert not decisions.factor.values[rows].any()
    decisions.update(rows, NOW_MS)
    together.update(rows)
    apart.grow()
    for row in rows.tolist():
        apart.update_one(row, view.post.created_ms.item(row), {})
    assert apart.score.values[:POSTS].tolist() == together.score.values[:POSTS].tolist()
    assert 10 < np.isneginf(apart.score.values[:POSTS]).sum() < POSTS / 2
