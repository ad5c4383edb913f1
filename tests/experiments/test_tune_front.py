"""Which arm of a finished experiment to set, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs
from scipy.stats import binom

from builders.tune_users import EQUAL, experiments, of_shape, recommended
from builders.tune_users import setting as setting_of_users
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Experiment, decode_experiment
from feedmill.events.signal import SignalNames
from feedmill.events.weights import weights_decoder
from feedmill.experiments.checks import ExperimentRecord, decode_record
from feedmill.experiments.dials import written
from feedmill.experiments.report import report_of
from feedmill.experiments.table import DAY_MS, UserTable
from feedmill.experiments.tune_effects import changes_in
from feedmill.experiments.tune_front import Front, front_arms, front_of
from feedmill.experiments.tune_page import front_page

NAMES = SignalNames()
STARTED_MS = 1_790_000_000_000 // DAY_MS * DAY_MS
HOURS = (24, 3, 6, 12, 96)
# By arm what its readers take, do and reply beside the control's.
PLANTED = ((1.0, 1.0), (1.0, 0.97), (1.12, 1.0), (1.06, 1.0), (0.9, 0.9))


def setting(**changes: Any) -> dict[str, Any]:
    arms = [
        {"name": f"h{hours}", "share": 2000, "weights": {"half_life_hours": hours} if n else {}}
        for n, hours in enumerate(HOURS)
    ]
    value = {"arms": arms, "feeds": ["global"], "salt": "s", "planned_n": 2_000}
    more = {"window_hours": 24, "guardrails": {"actions": 0.1}, "stopped": True}
    return {**value, **more, **changes}


def record_of(experiment: Experiment, **changes: Any) -> ExperimentRecord:
    base = weights_decoder(NAMES).default
    arms = {
        arm.name: written(weights_decoder(NAMES).patched(base, arm.weights), NAMES)
        for arm in experiment.arms
    }
    feeds = {
        feed: {"offset": 4, "changed": False, "arms": arms, "share": 0.2}
        for feed in experiment.feeds
    }
    overlap = {arm.name: 0.5 for arm in experiment.treatments}
    value = {"gaps": [], "overlap": overlap, "started_ms": STARTED_MS, "weights": feeds, **changes}
    return decode_record(msgspec.json.encode(value), "record.json")


def table_of(
    experiment: Experiment,
    lifts: tuple[tuple[float, float], ...] = PLANTED,
    seed: int = 1,
    users: int = 20_000,
    days: int = 29,
) -> UserTable:
    rng = np.random.default_rng(seed)
    arm = rng.integers(len(experiment.arms), size=users)
    take, act = np.array(lifts[: len(experiment.arms)]).T
    level, rate = rng.lognormal(-0.125, 0.5, users), rng.beta(10, 40, users)
    seen = rng.poisson(8 * level[:, None], (users, 2))
    taken = rng.binomial(seen, np.minimum(rate * take[arm], 1.0)[:, None])
    acted = rng.poisson(seen * 0.1 * act[arm][:, None])
    before = rng.poisson(8 * level)
    sums = {"take_rate": taken.astype(float), "actions": acted.astype(float)}
    return UserTable(
        arm=arm,
        computed_arm=arm,
        first_exposure_ms=STARTED_MS
        + (rng.random(users) * days * DAY_MS).astype(int).astype(float),
        complete=np.ones(users, dtype=bool),
        served=seen.sum(axis=1) + rng.poisson(6.0, users).astype(float),
        impressions=seen.sum(axis=1).astype(float),
        impressions_before=before.astype(float),
        sums={name: one.sum(axis=1) for name, one in sums.items()},
        sums_before={"take_rate": rng.binomial(before, rate).astype(float)},
        elsewhere={},
        day_impressions=seen.astype(float),
        day_sums=sums["take_rate"],
        sums_by_day=sums,
    )


def front(value: dict[str, Any], table: UserTable | None = None, **record: Any) -> Front:
    experiment = decode_experiment(value, NAMES)
    known = record_of(experiment, **record)
    users = table_of(experiment) if table is None else table
    return front_of(report_of("mix", users, experiment, known), users, experiment, known)


def test_the_best_arm_is_set_at_the_offset_and_the_next_are_half_way_to_its_neighbours() -> None:
    found = front(setting())
    assert found.recommended == "h6"
    assert found.commands == ("feedmill config set weights/global half_life_hours=6 --if-offset 4",)
    assert found.following is not None
    arms = [arm.get("weights") for arm in found.following["arms"][1:]]
    assert arms == [{"half_life_hours": 4.24}, {"half_life_hours": 8.49}]
    decode_experiment(dict(found.following), NAMES)
    by_name = {arm.name: arm for arm in found.arms}
    assert not by_name["h96"].is_on_front
    assert by_name["h6"].is_on_front
    assert "take_rate is not shown to be better" in by_name["h3"].why_not
    assert "an arm then was within 2 points of everybody" in found.everybody[0]


def test_beyond_an_edge_the_next_arm_goes_on_by_the_last_step() -> None:
    found = front(
        setting(), table_of(decode_experiment(setting(), NAMES), ((1, 1), (1.2, 1), *PLANTED[2:]))
    )
    assert found.recommended == "h3"
    assert found.following is not None
    arms = [arm.get("weights") for arm in found.following["arms"][1:]]
    assert arms == [{"half_life_hours": 1.5}, {"half_life_hours": 4.24}]


def test_equal_arms_keep_the_control_and_say_what_could_still_be_gained() -> None:
    equal = table_of(decode_experiment(setting(), NAMES), ((1.0, 1.0),) * 5)
    found = front(setting(), equal)
    assert (found.recommended, found.commands) == ("h24", ())
    assert found.conclusion.startswith("Keep the control: h3: take_rate is not shown to be better;")
    highest = max(arm.changes[0].upper for arm in found.arms[1:])
    assert found.conclusion.endswith(f"No arm can be better by more than {highest:.1%}.")


def test_an_arm_that_breaks_a_guardrail_is_not_set() -> None:
    worse = ((1.0, 1.0), (1.0, 1.0), (1.12, 0.8), (1.06, 1.0), (0.9, 0.9))
    found = front(setting(), table_of(decode_experiment(setting(), NAMES), worse))
    assert found.recommended == "h12"
    [arm] = [arm for arm in found.arms if arm.name == "h6"]
    assert arm.why_not == "actions is not shown to stay within its margin of 10%"


def test_days_too_few_for_four_weeks_set_nothing() -> None:
    table = table_of(decode_experiment(setting(), NAMES), days=27)
    assert front(setting(), table).recommended == "h24"


def test_lists_that_correlate_from_day_to_day_set_nothing() -> None:
    experiment = decode_experiment(setting(), NAMES)
    arms = list(experiment.shares)
    changes, _ = changes_in(table_of(experiment), experiment, arms)
    stands = {name: {"half_life_hours": float(place)} for place, name in enumerate(arms)}
    for alike, why in ((0.29, ""), (0.3, "from day to day lists correlate by 0.3")):
        found = front_arms(experiment, replace(changes, alike=alike), 28, stands)
        best = max(found[1:], key=lambda arm: arm.changes[0].change)
        assert best.why_not.startswith(why)
        assert bool(best.why_not) == bool(why)


def test_the_page_is_the_same_bytes_twice_and_has_its_pictures() -> None:
    first, second = (front_page(front(setting())) for _ in range(2))
    assert first == second
    assert first.count("<svg") == 2  # one dial, and one objective beside the primary one
    assert "Change by half_life_hours, in doublings of" in first
    json.dumps(front(setting()).as_dict())


def test_equal_arms_are_rarely_recommended() -> None:
    assert np.mean([arm > 0 for arm in recommended([EQUAL] * 5, 16_000, 100)]) <= 0.05


def test_of_one_objective_equal_arms_are_rarely_called_off() -> None:
    experiment = structs.replace(setting_of_users(5), guardrails={})
    stands = {name: {"half_life_hours": float(n)} for n, name in enumerate(experiment.shares)}
    flat = experiments([EQUAL] * 5, 16_000, 300, (0,))
    arms = [front_arms(experiment, one.changes, 28, stands) for one in flat]
    off = sum(not all(arm.is_on_front for arm in one) for one in arms)
    # 5 % of 300, and what chance adds to it in 95 of 100 runs.
    assert off <= binom.ppf(0.95, 300, 0.05)


@pytest.mark.parametrize("shape", ["plateau", "narrow peak"])
def test_most_of_a_gain_of_any_shape_is_had(shape: str) -> None:
    assert of_shape(shape, 0.1, 50)[0] >= 0.94
    assert of_shape(shape, 0.05, 50)[1] >= 0.75


def with_arm(**changes: Any) -> dict[str, Any]:
    value = setting()
    return {**value, "arms": [*value["arms"][:-1], {**value["arms"][-1], **changes}]}


def unlike(weights: dict[str, Any]) -> dict[str, Any]:
    other = json.loads(json.dumps(weights["global"]))
    other["arms"]["h6"]["half_life_hours"] = 7
    return {**weights, "mine": other}


def changed(weights: dict[str, Any]) -> dict[str, Any]:
    return {"global": {**weights["global"], "changed": True}}


REFUSED: dict[str, tuple[dict[str, Any], Callable[[Any], Any] | None, str]] = {
    "gate": (
        with_arm(gates={"spam": {"hide_at": 0.5}}),
        None,
        "- at `$.arms[4].gates.spam`; `feed",
    ),
    "cap": (with_arm(weights={"max_per_author": 1}), None, "at `$.arms[4].weights.max_per_author`"),
    "null": (
        with_arm(weights={"half_life_hours": None}),
        None,
        "got 0 or null in 'h24' or 'h96' -",
    ),
    "zero": (
        with_arm(weights={"engagement": 0}),
        None,
        "at `$.arms[…].weights.beta`; `feedmill ex",
    ),
    "factor": (
        with_arm(weights={"quality": 1, "engagement": 1}),
        None,
        "got 'h24' and 'h96', whose objectives differ by a common factor - at `$.arms[…].weights`;",
    ),
    "unlike": (
        setting(feeds=["global", "mine"]),
        unlike,
        "at `$.weights.mine` of the record; one dial cannot be read off two feeds: run an",
    ),
    "changed": (setting(), changed, "got a change - at `$.weights.global` of the record; who came"),
    "old": (setting(), lambda _: {}, "got others - at `$.weights` of the record; `feedmill experi"),
    "running": (setting(stopped=False, planned_n=9_000), None, "- at `$.planned_n`; the intervals"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_tells_nothing_of_dials_is_refused_with_its_path_and_a_way_out(name: str) -> None:
    value, change, said = REFUSED[name]
    weights = msgspec.to_builtins(record_of(decode_experiment(value, NAMES)).weights)
    with pytest.raises(UsageError) as refused:
        front(value, weights=weights if change is None else change(weights))
    assert said in str(refused.value)


def test_a_table_without_days_is_refused_and_a_failed_check_shows_nothing() -> None:
    table = table_of(decode_experiment(setting(), NAMES))
    with pytest.raises(UsageError, match=r"Expected columns on_day<n>_take_rate, got none"):
        front(setting(), replace(table, sums_by_day={}))
    found = front(setting(), gaps=[{"from_ms": 1, "to_ms": 2}])
    assert found.arms == ()
    assert found.conclusion.startswith("Nothing may be concluded: data: gaps")
    assert "<svg" not in front_page(found)


def test_an_experiment_on_two_dials_has_a_curve_for_each() -> None:
    arms = setting()["arms"]
    value = setting(arms=[*arms[:4], {**arms[4], "name": "b4", "weights": {"engagement": 2}}])
    found = front(value)
    assert [*found.arms[0].places] == ["beta", "half_life_hours"]
    assert front_page(found).count("<svg") == 3
