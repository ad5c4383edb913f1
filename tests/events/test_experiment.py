"""Experiments that are refused, each with path, expected and found: `refused_experiments.txt`."""

import json
from typing import Any

import pytest

from builders.events import settings_of
from builders.golden import Golden
from builders.refusals import Refusals
from feedmill.events import experiment
from feedmill.events.errors import BadSetting
from feedmill.events.experiment import decode_experiment
from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames

NAMES = SignalNames.parse("extreme:gate,novelty:objective")
CONTROL = {"name": "control", "share": 5000}
B = {"name": "b", "share": 5000, "weights": {"novelty": 0.2, "scale": {"quality": 2}}}
GOOD: dict[str, Any] = {"arms": [CONTROL, B], "feeds": ["global"], "salt": "s", "planned_n": 63_000}


def arms(*shares: int, **fields: Any) -> dict[str, Any]:
    """Arms of these shares that differ in a weight; the last has these fields too."""
    found: list[dict[str, Any]] = [
        {"name": f"b{place}", "share": share, "weights": {"quality": place} if place else {}}
        for place, share in enumerate(shares)
    ]
    found[-1] |= fields
    return {"arms": found}


def metrics(**fields: Any) -> dict[str, Any]:
    return {"metrics": {"likes": {"per": "user", **fields}}}


# What is changed of a good one.
BAD: list[dict[str, Any]] = [
    {"arms": [CONTROL]},
    arms(*[1111] * 8, 1112),
    arms(5000, 4000),
    arms(5000, 5001),
    arms(10_000, 0),
    arms(5000, 5000, share=0.5),
    arms(5000, 5000, name="b0"),
    arms(5000, 5000, name="b 1"),
    arms(5000, 5000, name="v2.a"),
    arms(5000, 2500, 2500, weights={"quality": 1}),
    arms(5000, 5000, weights={}),
    arms(5000, 5000, weights={}, gates={"spam": {}}),
    arms(5000, 5000, control_copy=True),
    arms(5000, 5000, weights={}, control_copy=True),
    {"arms": [{**B, "name": "first"}, B]},
    {"arms": [{**CONTROL, "control_copy": True}, B]},
    arms(5000, 5000, weights={"half_life": 6}),
    arms(5000, 5000, weights={"quality": -1}),
    arms(5000, 5000, weights={"scale": {"qualty": 2}}),
    arms(5000, 5000, gates={"quality": {"hide_at": 0.5}}),
    arms(5000, 5000, gates={"spam": {"hide_att": 0.5}}),
    arms(5000, 5000, gates={"extreme": {"hide_at": 2}}),
    arms(5000, 5000, wieghts={}),
    {"feeds": []},
    {"feeds": ["lang:en"]},
    {"feeds": ["a feed"]},
    {"feeds": ["global", "global"]},
    {"salt": ""},
    {"traffic": 10_001},
    {"traffic": 0},
    {"window_hours": 200},
    {"planned_n": 10},
    {"primary": "clicks"},
    {"primary": "reporters"},
    {"guardrails": {"clicks": 0.1}},
    {"guardrails": {"take_rate": 0.1}},
    {"guardrails": {"reporters": 0}},
    {"guardrail": {"reporters": 0.1}},
    {"metrics": {"arm": {"per": "user"}}},
    {"metrics": {"pre_likes": {"per": "user"}}},
    metrics(per="reader"),
    metrics(per="reader", better="less", cap=3),
    metrics(per="click"),
    metrics(kinds=["like", "love"]),
    metrics(cap=0),
    metrics(better="most"),
]


def refused_alone() -> Refusals:
    """The refusals of experiments that are bad whatever the other settings are."""
    refusals = Refusals(BadSetting, experiment)
    for bad in BAD:
        refusals.add(str(bad), decode_experiment, {**GOOD, **bad}, NAMES)
    refusals.add("no object", decode_experiment, [], NAMES)
    return refusals


def test_bad_experiments_are_refused(golden: Golden) -> None:
    golden.check("refused_experiments.txt", refused_alone().text())


def test_a_good_experiment_has_its_arms_and_metrics() -> None:
    copy = {"name": "again", "share": 2500, "control_copy": True}
    found = decode_experiment(
        {**GOOD, "arms": [CONTROL, copy, {**B, "share": 2500}], **metrics(kinds=["like"])}, NAMES
    )
    assert found.control.name == "control"
    assert [arm.name for arm in found.treatments] == ["b"]
    assert found.shares == {"control": 5000, "again": 2500, "b": 2500}
    assert list(found.all_metrics) == ["take_rate", "actions", "reporters", "hiders", "likes"]


def settings_with(*records: tuple[str, Any]) -> Settings:
    """Two feeds, one gate that is off, and these."""
    off = {"extreme": {"enabled": False}}
    return settings_of(("gates", off), ("feeds/x", {}), *records, names=NAMES)


def started(**changes: Any) -> tuple[str, Any]:
    return "experiments/one", {**GOOD, **changes}


def in_arm(kind: str, **fields: Any) -> dict[str, Any]:
    return {"arms": [CONTROL, {"name": "b", "share": 5000, kind: fields}]}


ONE, OTHER = started(), ("experiments/two", {**GOOD, "feeds": ["x", "global"]})
BOTH = ["global", "x"]
ONE_TWO = arms(5000, 2500, 2500)
# The last two differ in what the feed has anyhow.
SAME = arms(5000, 2500, 2500, weights={"quality": 1, "engagement": 0.5})
STRICT_X = ("gates/x", {"spam": {"hide_at": 0.5}})
# What there is, and the record that is refused then.
NOT_FOLLOWED: list[tuple[list[tuple[str, Any]], tuple[str, Any]]] = [
    ([], started(feeds=["y"])),
    ([], started(feeds=["global", "y"])),
    ([], started(stopped=True)),
    ([], started(**arms(5000, 5001))),
    ([], ("experiments/one", None)),
    ([ONE], OTHER),
    ([ONE], ("experiments/one", None)),
    ([started(feeds=["x"])], ("feeds/x", None)),
    ([started(traffic=500)], started(traffic=499)),
    ([ONE], started(salt="other")),
    ([ONE], started(feeds=["global", "x"])),
    ([ONE], started(**arms(5000, 5000))),
    ([ONE], started(stopped=True, planned_n=70_000)),
    ([ONE, started(stopped=True)], started()),
    ([ONE, started(stopped=True)], started(salt="other")),
    ([ONE, started(stopped=True)], ("experiments/one", None)),
    ([], started(**in_arm("weights", quality=0.5))),
    ([], started(**in_arm("weights", costs={"hide": 4}, max_per_author=3))),
    ([], started(**in_arm("gates", spam={"hide_at": 0.9}))),
    ([("weights/x", {"quality": 2, "engagement": 0.5})], started(feeds=BOTH, **ONE_TWO)),
    ([("weights/x", {"quality": 0.5, "engagement": 1})], started(**SAME)),
    ([], started(**in_arm("weights", quality=0, engagement=0))),
    ([], started(**in_arm("weights", explore=0.5))),
    ([], started(**in_arm("gates", spam={"enabled": False}))),
    ([], started(**in_arm("gates", spam={"shadow": True}))),
    ([], started(**in_arm("gates", spam={"hide_at": 0.95}))),
    ([], started(**in_arm("gates", spam={"hide_at": None}))),
    ([], started(**in_arm("gates", spam={"demote_at": 0.7, "hide_at": 0.8}))),
    ([], started(**in_arm("gates", spam={"demote_factor": 0.6}))),
    ([], started(**in_arm("gates", spam={"on_failure": "open"}))),
    ([STRICT_X], started(feeds=BOTH, **in_arm("gates", spam={"hide_at": 0.6}))),
]  # fmt: skip


def test_a_setting_that_does_not_fit_the_others_is_refused(golden: Golden) -> None:
    refusals = Refusals(BadSetting, experiment)
    for before, (key, value) in NOT_FOLLOWED:
        there = settings_with(*before)
        record = json.dumps({"value": value}).encode()
        title = f"{before} then {key} {value}"
        reason = refusals.add(title, there.fold, key.encode(), record, there.offset + 1)
        assert "Expected" in reason and "got" in reason
    assert set(refusals.not_reached()) & set(refused_alone().not_reached()) == set()
    golden.check("not_followed_experiments.txt", refusals.text())


def test_an_experiment_runs_from_its_first_value_to_the_stop() -> None:
    runs = settings_with(started(traffic=500, feeds=["global", "x"]))
    assert {f: one.name for f, one in runs.running.items()} == {"global": "one", "x": "one"}
    assert "novelty" in runs.weighed
    info = json.loads(runs.running["x"].info())
    shares = [{"name": "control", "share": 5000}, {"name": "b", "share": 5000}]
    assert info == {"name": "one", "salt": "s", "traffic": 500, "arms": shares}
    ramped = settings_of(started(traffic=500, feeds=["global", "x"]), before=runs)
    ramped = settings_of(started(traffic=9_999, feeds=["global", "x"]), before=ramped)
    assert ramped.running["x"].experiment.traffic == 9_999
    over = settings_of(started(traffic=9_999, feeds=["global", "x"], stopped=True), before=ramped)
    assert over.running == {}
    assert "novelty" not in over.weighed
    after = settings_of(OTHER, ("experiments/two", {**OTHER[1], "stopped": True}), before=over)
    # What is not a feed by a setting alone may go back to what is built in.
    settings_of(("feeds/global", {"size": 10}), ("feeds/global", None), before=runs)
    assert settings_of(("feeds/x", None), before=after).feed_of("x") is None


OPEN = {"on_failure": "open"}


@pytest.mark.parametrize(
    ("feed", "arm", "in_force"),
    [
        ({"hide_at": 0.7}, {"hide_at": 0.8}, {"hide_at": 0.7}),
        ({"hide_at": None}, {"hide_at": 0.8}, {"hide_at": 0.8}),
        ({"demote_at": 0.1}, {"demote_at": 0.5}, {"demote_at": 0.1}),
        ({"demote_factor": 0.2}, {"demote_factor": 0.3}, {"demote_factor": 0.2}),
        (OPEN, {"grace_s": 90}, {**OPEN, "grace_s": 90}),
        ({**OPEN, "grace_s": 100}, {"grace_s": 90}, {**OPEN, "grace_s": 100}),
        ({"enabled": False}, {"enabled": True, "hide_at": 0.8}, {"hide_at": 0.8}),
        ({"shadow": True}, {"shadow": False}, {}),
    ],
)  # fmt: skip
def test_of_gates_that_change_later_the_stricter_holds(
    feed: dict[str, Any], arm: dict[str, Any], in_force: dict[str, Any]
) -> None:
    in_shadow = ("gates/x", {"spam": {"shadow": True}})
    other = started(feeds=["x"], **in_arm("gates", spam={**arm, "shadow": False}))
    runs = settings_with(in_shadow, other)
    later = settings_of(("gates/x", {"spam": feed}), before=runs)
    assert later.running["x"].arms["one.b"].gates["spam"] == GatePolicy(**in_force)


def test_an_arm_without_any_weight_by_now_has_those_of_the_feed() -> None:
    runs = settings_with(started(feeds=["x"], **in_arm("weights", quality=0)))
    later = settings_of(("weights/x", {"quality": 1, "engagement": 0}), before=runs)
    assert later.running["x"].arms["one.b"].weights == later.weights_of("x")
