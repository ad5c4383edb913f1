"""Experiments that are refused, each with path, expected and found: `refused_experiments.txt`."""

from typing import Any

from builders.golden import Golden
from builders.refusals import Refusals
from feedmill.events import experiment
from feedmill.events.errors import BadSetting
from feedmill.events.experiment import decode_experiment
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


def test_bad_experiments_are_refused(golden: Golden) -> None:
    refusals = Refusals(BadSetting, experiment)
    for bad in BAD:
        refusals.add(str(bad), decode_experiment, {**GOOD, **bad}, NAMES)
    refusals.add("no object", decode_experiment, [], NAMES)
    assert refusals.not_reached() == []
    golden.check("refused_experiments.txt", refusals.text())


def test_a_good_experiment_has_its_arms_and_metrics() -> None:
    copy = {"name": "again", "share": 2500, "control_copy": True}
    found = decode_experiment(
        {**GOOD, "arms": [CONTROL, copy, {**B, "share": 2500}], **metrics(kinds=["like"])}, NAMES
    )
    assert found.control.name == "control"
    assert [arm.name for arm in found.treatments] == ["b"]
    assert found.shares == {"control": 5000, "again": 2500, "b": 2500}
    assert list(found.all_metrics) == ["take_rate", "actions", "reporters", "hiders", "likes"]


def test_an_arm_may_differ_in_every_field_of_weights_and_gates() -> None:
    weights: dict[str, Any] = {"quality": 1, "engagement": 2, "novelty": 0.1}
    weights |= {"half_life_hours": None}
    weights |= {"max_per_author": 5, "scale": {"engagement": 3}}
    gates = {"spam": {"hide_at": 0.8}, "extreme": {"enabled": True}}
    arm = {"name": "b", "share": 5000, "weights": weights, "gates": gates}
    assert decode_experiment({**GOOD, "arms": [CONTROL, arm]}, NAMES).arms[1].gates == gates
