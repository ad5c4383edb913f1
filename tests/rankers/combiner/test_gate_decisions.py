"""`decide_many` and `decide_one` are one rule."""

from itertools import product
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.events import override
from feedmill.events.gates import GatePolicy
from feedmill.events.override import OverrideKey, OverrideVerdict
from feedmill.rankers.combiner.gate_decisions import (
    DEMOTE,
    HIDE,
    HOLD,
    SHOW,
    Decision,
    GateOutcome,
    GateVerdict,
    decide_many,
    decide_one,
    outcomes_of,
    passes,
)
from feedmill.rankers.combiner.overrides import ActiveOverride

NAMES = ("spam", "nsfw", "extreme")
# Thresholds that float32 rounds up (0.9 is 0.8999…76), down, and not at all.
EDGES = (0.0, 0.1, 0.25, 0.5, 0.6, 0.7, 0.9, 1.0)
ROUNDED = tuple(float(np.float32(x)) for x in EDGES)
NEXT = tuple(float(np.nextafter(np.float32(x), np.float32(2))) for x in (0.6, 0.9))

gates = st.builds(
    GatePolicy,
    enabled=st.sampled_from((True, True, False)),
    shadow=st.sampled_from((False, False, True)),
    hide_at=st.sampled_from((*EDGES, *ROUNDED, None)),
    demote_at=st.sampled_from((*EDGES, *ROUNDED, None)),
    demote_factor=st.sampled_from((0.1, 0.3, 0.5, 1.0)),
    on_failure=st.sampled_from(("closed", "open")),
    grace_s=st.sampled_from((0.0, 0.001, 0.0015, 60.0)),
)
values = st.sampled_from((*ROUNDED, *NEXT, None))
posts = st.lists(
    st.tuples(
        *([st.tuples(values, st.booleans())] * len(NAMES)),
        st.sampled_from((0, 1, 2, 59_999, 60_000, 60_001)),
    ),
    max_size=12,
)


@settings(max_examples=300)
@given(st.tuples(gates, gates, gates), posts)
def test_many_decide_as_each_does(policies: tuple[GatePolicy, ...], rows: list[Any]) -> None:
    by_name = dict(zip(NAMES, policies, strict=True))
    now_ms = 10_000_000
    value = {
        name: np.array([np.nan if r[i][0] is None else r[i][0] for r in rows], np.float32)
        for i, name in enumerate(NAMES)
    }
    judged = {name: np.array([r[i][1] for r in rows], bool) for i, name in enumerate(NAMES)}
    arrived_ms = np.array([now_ms - r[-1] for r in rows], np.int64)
    codes, factors = decide_many(by_name, value, judged, arrived_ms, now_ms)
    for row, code, factor, at in zip(rows, codes, factors, arrived_ms, strict=True):
        verdicts = {
            name: GateVerdict(row[i][0] if row[i][1] else None, f"{name}@1")
            for i, name in enumerate(NAMES)
        }
        one = decided(by_name, verdicts, {}, int(at), now_ms)
        assert (one.code, one.factor) == (code, factor)


def test_what_passes_by_the_short_way_passes_by_the_long_one() -> None:
    edges = (*ROUNDED, None)
    for hide_at, demote_at, value, model in product(edges, edges, ROUNDED, ("spam", "rule")):
        gate = GatePolicy(hide_at=hide_at, demote_at=demote_at)
        verdicts = {"spam": GateVerdict.of("spam", value, model, "1")}
        [outcome] = outcomes_of({"spam": gate}, verdicts, {}, 0, 0)
        if passes(gate, value):
            assert outcome == GateOutcome("spam", SHOW, 1.0, "")


def decided(
    gates: dict[str, GatePolicy],
    verdicts: dict[str, GateVerdict],
    overrides: dict[str, ActiveOverride],
    arrived_ms: int = 0,
    now_ms: int = 0,
) -> Decision:
    return decide_one(gates, outcomes_of(gates, verdicts, overrides, arrived_ms, now_ms))


def active(verdict: OverrideVerdict, gate: str, by: str = "mo") -> ActiveOverride:
    return ActiveOverride(OverrideKey("post", "p", gate), override(verdict, by=by))


def test_a_rule_is_named_where_it_hides_demotes_or_allows() -> None:
    policy = {"spam": GatePolicy(), "nsfw": GatePolicy()}
    model = GateVerdict.of("nsfw", 0.0, "nsfw", "7f3a")
    assert model.label == "nsfw@7f3a"
    for value, name in ((1.0, "hide"), (0.75, "demote"), (0.0, "show")):
        rule = GateVerdict.of("spam", value, "rule", "bad-links")
        decision = decided(policy, {"spam": rule, "nsfw": model}, {})
        assert (decision.name, decision.decided_by) == (name, "rule:bad-links")
    allowed = {"spam": GateVerdict.of("spam", 0.0, "rule", "friends")}
    hidden = {**allowed, "nsfw": GateVerdict.of("nsfw", 1.0, "nsfw", "7f3a")}
    assert decided(policy, hidden, {}).decided_by == "nsfw@7f3a"
    # Below every threshold a gate's rule that demotes has done nothing.
    lax = {"spam": GatePolicy(demote_at=None), "nsfw": GatePolicy()}
    demoting = {"spam": GateVerdict.of("spam", 0.75, "rule", "r"), "nsfw": model}
    assert decided(lax, demoting, {}).decided_by == ""


def test_each_gate_does_what_its_value_reached() -> None:
    policy = {
        "hides": GatePolicy(),
        "demotes": GatePolicy(),
        "demotes by nothing": GatePolicy(demote_factor=1.0),
        "passes": GatePolicy(),
        "allows": GatePolicy(),
        "missing": GatePolicy(),
        "shadow": GatePolicy(shadow=True, demote_factor=0.01),
        "off": GatePolicy(enabled=False),
        "overridden": GatePolicy(demote_factor=0.25),
        "all overridden": GatePolicy(demote_factor=0.1),
    }
    verdicts = {
        "hides": GateVerdict(0.95, "hides@1"),
        "demotes": GateVerdict(0.75, "demotes@1"),
        "demotes by nothing": GateVerdict(0.75, "demotes by nothing@1"),
        "passes": GateVerdict(0.5, "passes@1"),
        "allows": GateVerdict.of("allows", 0.0, "rule", "friends"),
        "missing": GateVerdict.missing("missing"),
    }
    named, star = active("demote", "overridden"), active("demote", "*", by="jo")
    overrides = {"overridden": named, "all overridden": star}
    outcomes = list(outcomes_of(policy, verdicts, overrides, 0, 0))
    assert outcomes == [
        GateOutcome("hides", HIDE, 0.5, "hides@1", 0.9),
        GateOutcome("demotes", DEMOTE, 0.5, "demotes@1", 0.6),
        GateOutcome("demotes by nothing", SHOW, 1.0, "", 0.6),
        GateOutcome("passes", SHOW, 1.0, ""),
        GateOutcome("allows", SHOW, 1.0, "rule:friends"),
        GateOutcome("missing", HOLD, 1.0, "missing@none"),
        GateOutcome("shadow", SHOW, 1.0, ""),
        GateOutcome("off", SHOW, 1.0, ""),
        GateOutcome("overridden", DEMOTE, 0.25, "override:mo", None, named),
        GateOutcome("all overridden", DEMOTE, 1.0, "override:jo", None, star),
    ]
    assert [outcome.is_star_demotion for outcome in outcomes] == [False] * 9 + [True]
    # 0.5 and 0.5 by verdicts, 0.25 by the named override, and the smallest of all by `*`.
    decision = decide_one(policy, outcomes)
    assert (decision.code, decision.decided_by) == (HIDE, "hides@1")
    assert decision.factor == 0.5 * 0.5 * 0.25 * 0.1
