"""A post that every gate lets pass is decided by a shorter way, with the same outcome."""

from itertools import product

from builders.events import NOW_MS, post, signal
from feedmill.events.gates import GatePolicy
from feedmill.events.signal import RULE_MODEL, SignalNames
from feedmill.rankers.combiner.gating import PASSED, decide_one, outcomes_of
from feedmill.rankers.combiner.row_decision import decide_row, verdict_of
from feedmill.rankers.combiner.view import PostView

MISSING = -1.0
VALUES = (MISSING, None, 0.0, 0.25, 0.5, 0.95)
MODELS = ("spam", RULE_MODEL)
THRESHOLDS = ((0.9, 0.5), (0.5, None), (None, 0.25), (None, None))
NOW = NOW_MS + 1_000


def test_the_shorter_way_decides_as_the_gates_do() -> None:
    view, rows = PostView(SignalNames()), 0
    for rows, (value, model) in enumerate(product(VALUES, MODELS), 1):
        view.update_post(post(f"p{rows}"), 7, NOW_MS)
        if value != MISSING:
            view.update_signal("spam", signal(f"p{rows}", 7, value, model=model))
        view.update_signal("nsfw", signal(f"p{rows}", 7, 0.125))
    view.update_post(post("p4"), 8, NOW_MS)  # what was said is about an older version
    seen = set()
    for hide_at, demote_at in THRESHOLDS:
        for shadow in (False, True):
            spam = GatePolicy(hide_at=hide_at, demote_at=demote_at, shadow=shadow)
            gates = {"spam": spam, "nsfw": GatePolicy(on_failure="open")}
            for row in range(rows):
                verdicts = {name: verdict_of(view, row, name) for name in gates}
                outcomes = outcomes_of(gates, verdicts, {}, NOW_MS, NOW)
                decided = decide_row(view, row, gates, NOW)
                assert decided == decide_one(gates, outcomes)
                seen.add((decided.name, decided is PASSED, bool(decided.decided_by)))
    assert {name for name, *_ in seen} == {"show", "demote", "hide", "hold"}
    # A rule that allows is named.
    assert {("show", True, False), ("show", False, True)} <= seen
