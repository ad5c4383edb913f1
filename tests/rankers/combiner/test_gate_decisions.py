"""A post is decided as its gates do it, alone, by a shorter way, and among many."""

from itertools import product
from random import Random

import numpy as np
import pytest

from builders.events import HOUR_MS, NOW_MS, post, signal
from feedmill.events.gates import GatePolicy
from feedmill.events.override import Override, OverrideKey
from feedmill.events.signal import RULE_MODEL, SignalNames
from feedmill.rankers.combiner.gate_decisions import GateDecisions, decide_row, verdict_of
from feedmill.rankers.combiner.gating import (
    ABSENT,
    DECISIONS,
    DEMOTE,
    HIDE,
    HOLD,
    PASSED,
    SHOW,
    decide_one,
    outcomes_of,
)
from feedmill.rankers.combiner.view import PostView

MISSING = -1.0
VALUES = (MISSING, None, 0.0, 0.25, 0.5, 0.95)
MODELS = ("spam", RULE_MODEL)
THRESHOLDS = ((0.9, 0.5), (0.5, None), (None, 0.25), (None, None))
OVERRIDDEN, OUTDATED, DELETED = "p1", "p4", "p5"


def filled(*, is_overridden: bool) -> PostView:
    """A post for each two values and each model, one of them about an older version."""
    view = PostView(SignalNames())
    for i, (spam, nsfw, model) in enumerate(product(VALUES, (MISSING, 0.1, 0.6), MODELS)):
        view.update_post(post(f"p{i}"), 7, NOW_MS)
        if spam != MISSING:
            view.update_signal("spam", signal(f"p{i}", 7, spam, model=model))
        if nsfw != MISSING:
            view.update_signal("nsfw", signal(f"p{i}", 7, nsfw))
    view.update_post(post(OUTDATED), 8, NOW_MS)
    if is_overridden:
        override = Override("hide", by="ann", reason="", at_ms=NOW_MS)
        view.update_override(OverrideKey("post", OVERRIDDEN, "*"), override)
    return view


@pytest.mark.parametrize("is_overridden", [False, True])
def test_rows_are_decided_as_the_gates_do_each(*, is_overridden: bool) -> None:
    view, seen = filled(is_overridden=is_overridden), set()
    for (hide_at, demote_at), shadow, late_ms in product(
        THRESHOLDS, (False, True), (1_000, HOUR_MS)
    ):
        spam = GatePolicy(hide_at=hide_at, demote_at=demote_at, demote_factor=0.7, shadow=shadow)
        gates = {"spam": spam, "nsfw": GatePolicy(demote_factor=0.1, on_failure="open")}
        rows, now_ms = np.arange(len(view), dtype=np.int32), NOW_MS + late_ms
        decisions = GateDecisions(view, gates)
        decisions.update(rows, now_ms)
        decided = [decide_row(view, row, gates, now_ms) for row in rows.tolist()]
        assert decisions.code[: len(view)].tolist() == [one.code for one in decided]
        assert decisions.factors(rows).tolist() == [one.factor for one in decided]
        for row, one in enumerate(decided):
            if is_overridden and view.ids[row] == OVERRIDDEN:
                assert (one.code, one.decided_by) == (HIDE, "override:ann")
            else:
                verdicts = {name: verdict_of(view, row, name) for name in gates}
                assert one == decide_one(gates, outcomes_of(gates, verdicts, {}, NOW_MS, now_ms))
            seen.add((one.code, one is PASSED, bool(one.decided_by)))
    assert {code for code, *_ in seen} == {SHOW, DEMOTE, HIDE, HOLD}
    # A rule that allows is named.
    assert {(SHOW, True, False), (SHOW, False, True)} <= seen


@pytest.mark.parametrize("together", [1, 8])
def test_a_row_without_a_post_is_absent(together: int) -> None:
    view = filled(is_overridden=False)
    gone = view.row_of(DELETED)
    assert gone is not None
    decisions = GateDecisions(view, {"spam": GatePolicy()})
    view.free([gone])
    decisions.update(np.arange(gone, gone + together, dtype=np.int32), NOW_MS)
    assert decisions.code[gone] == ABSENT


@pytest.mark.parametrize("together", [1, 3, 64])
def test_posts_are_counted_by_decision_as_they_change(together: int) -> None:
    view, drawn = filled(is_overridden=True), Random(together)
    decisions = GateDecisions(view, {"spam": GatePolicy(), "nsfw": GatePolicy(on_failure="open")})
    for later_ms in range(0, 2 * HOUR_MS, HOUR_MS // 10):
        if rows := view.live_rows().tolist():
            view.free([drawn.choice(rows)])
        decisions.update(
            np.array(drawn.sample(range(len(view)), min(together, len(view))), np.int32),
            NOW_MS + later_ms,
        )
        code = decisions.code
        counted = {name: int((code == n).sum()) for n, name in enumerate(DECISIONS[:ABSENT])}
        assert decisions.counts == counted
    decisions.update(slice(None), NOW_MS + HOUR_MS)
    assert sum(decisions.counts.values()) == len(view.live_rows()) > 0
