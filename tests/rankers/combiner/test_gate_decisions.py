"""Many rows are decided as each alone is, and a row without a post is absent."""

from itertools import product

import numpy as np
import pytest

from builders.events import NOW_MS, post, signal
from feedmill.events.gates import GatePolicy
from feedmill.events.override import Override, OverrideKey
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.gating import ABSENT, DEMOTE, HIDE, HOLD, SHOW
from feedmill.rankers.combiner.row_decision import decide_row
from feedmill.rankers.combiner.view import PostView

GATES = {
    "spam": GatePolicy(hide_at=0.9, demote_at=0.3, demote_factor=0.7),
    "nsfw": GatePolicy(hide_at=0.9, demote_at=0.3, demote_factor=0.1, on_failure="open"),
}
MISSING = -1.0
VALUES = (MISSING, None, 0.1, 0.3, 0.95)


@pytest.mark.parametrize("is_overridden", [False, True])
def test_rows_are_decided_as_each_alone_is(*, is_overridden: bool) -> None:
    view = PostView(SignalNames())
    for i, values in enumerate(product(VALUES, VALUES)):
        view.update_post(post(f"p{i}"), 1, NOW_MS)
        for name, value in zip(GATES, values, strict=True):
            if value != MISSING:
                view.update_signal(name, signal(f"p{i}", 1, value))
    if is_overridden:
        override = Override("hide", by="ann", reason="", at_ms=NOW_MS)
        view.update_override(OverrideKey("post", "p13", "*"), override)
    view.free([24])
    rows = np.arange(25, dtype=np.int32)
    decisions = GateDecisions(view, GATES)
    for now_ms in (NOW_MS, NOW_MS + 3_600_000):
        decisions.update(rows, now_ms)
        alone = [decide_row(view, row, GATES, now_ms) for row in range(24)]
        assert decisions.code[:25].tolist() == [*(one.code for one in alone), ABSENT]
        assert decisions.factors(rows[:24]).tolist() == [one.factor for one in alone]
        assert set(decisions.code[:25].tolist()) == {SHOW, DEMOTE, HIDE, HOLD, ABSENT}
        assert (int(decisions.code[13]) == HIDE) == is_overridden
