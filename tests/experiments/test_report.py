"""Verdicts of whole analyses, and that users whose windows are not over do not count."""

import re
from typing import Any

import numpy as np
import pytest

from builders.experiment_tables import experiment_of, user_columns, write_table
from builders.experiment_users import readers
from feedmill.experiments.checks import ExperimentRecord
from feedmill.experiments.effects import Effect, effect_of
from feedmill.experiments.page import page_of
from feedmill.experiments.report import Report, effect_table, report_of, says
from feedmill.experiments.table import DAY_MS, UserTable, read_table

RECORD = ExperimentRecord(gaps=(), overlap={"fresher": 0.6}, changes=("weights, offset <17>",))


def analysed(folder: Any, columns: dict[str, Any], **changes: Any) -> Report:
    experiment = experiment_of(**changes)
    table = read_table(write_table(folder / "t.parquet", columns), experiment)
    return report_of("fresher", table, experiment, RECORD)


@pytest.mark.parametrize(
    ("world", "verdict", "reason"),
    [
        ({"uplift": 0.1}, "ship", "no guardrail is worse by its margin"),
        ({"uplift": 0.1, "days": 15.0}, "go on", "are not four whole weeks yet"),
        ({"uplift": 0.1, "days": 27.9}, "go on", "but 26 days are not four whole weeks yet"),
        ({"uplift": 0.1, "reporters": (0.01, 0.0105)}, "not shown", "not worse in reporters"),
        ({"uplift": 0.1, "reporters": (0.01, 0.015)}, "stop", "in reporters"),
        ({"uplift": 0.0}, "not shown", "no difference is shown"),
    ],
)
def test_the_verdict_follows_the_rule(
    tmp_path: Any, world: dict[str, Any], verdict: str, reason: str
) -> None:
    # More users than planned have complete windows.  A margin of 5 % takes more still.
    guardrails = {"reporters": 0.05 if world.get("reporters") else 0.3, "actions": 0.05}
    columns = user_columns(21, 150_000, **world)
    report = analysed(tmp_path, columns, planned_n=30_000, guardrails=guardrails)
    assert report.valid
    (arm,) = report.arms
    assert arm.verdict == verdict
    assert reason in arm.reason
    assert arm.reason in report.conclusion


def test_an_experiment_before_its_planned_users_goes_on(tmp_path: Any) -> None:
    report = analysed(tmp_path, user_columns(22, 20_000))
    assert report.arms[0].verdict == "go on"


def test_a_worse_arm_is_stopped_and_one_where_less_is_better_reads_the_other_way(
    tmp_path: Any,
) -> None:
    columns = user_columns(23, 100_000, uplift=0.3)
    metric = {"per": "impression", "better": "less"}
    report = analysed(tmp_path, columns, metrics={"take_rate": metric})
    assert report.arms[0].verdict == "stop"
    assert report.arms[0].effects[0].worse


def test_new_and_returning_readers_are_all_readers(tmp_path: Any) -> None:
    report = analysed(tmp_path, user_columns(24, 50_000))
    (arm,) = report.arms
    assert [name for name, _ in arm.segments] == ["new readers", "returning readers"]
    users = [int(effect.users[-1]) for _, effect in arm.segments]
    assert sum(users) == arm.effects[0].users[-1]
    assert 0.15 < users[0] / sum(users) < 0.4


def test_other_lists_have_an_interval_over_days(tmp_path: Any) -> None:
    (arm,) = analysed(tmp_path, user_columns(26, 30_000, uplift=0.3)).arms
    assert arm.other_lists is not None
    difference, lower, upper, _ = arm.other_lists
    assert 0 < lower < difference < upper
    assert any("other lists" in row[0] for row in effect_table(arm)[1])


def test_a_look_without_impressions_has_no_bounds_and_deletes_none(tmp_path: Any) -> None:
    """A tester is exposed a day before all others, and sees nothing."""
    columns = user_columns(26, 30_000, uplift=0.3)
    first = int(np.argmin(columns["first_exposure_ms"]))
    columns["first_exposure_ms"][first] -= DAY_MS
    columns["impressions"][first] = columns["take_rate"][first] = 0
    (arm,) = analysed(tmp_path, columns, planned_n=10_000).arms
    primary = arm.effects[0]
    assert (primary.lower[0], primary.upper[0]) == (-np.inf, np.inf)
    assert 0 < primary.lower[-1] < primary.estimates[-1] < primary.upper[-1] < np.inf
    assert arm.verdict == "ship"
    for name in ("impressions", "take_rate"):
        columns[name][:] = 0
    (arm,) = analysed(tmp_path, columns, planned_n=10_000).arms
    assert (arm.verdict, arm.reason) == ("not shown", "take_rate has no interval yet")


def test_days_are_those_on_which_users_with_a_complete_window_came(tmp_path: Any) -> None:
    columns = user_columns(24, 20_000, days=9.0)
    expected = analysed(tmp_path, columns).days
    assert expected in {6, 7}
    columns["first_exposure_ms"][int(np.argmax(columns["complete"]))] -= 30 * DAY_MS
    assert analysed(tmp_path, columns).days == expected


def test_how_high_an_estimate_runs_is_said_of_this_run(tmp_path: Any) -> None:
    def limit(uplift: float) -> str:
        report = analysed(tmp_path, user_columns(24, 50_000, uplift=uplift))
        return next((line for line in report.limits if "runs high" in line), "")

    assert limit(0.0) == ""
    assert limit(0.5) == ""
    (barely,) = re.findall(r"by (1\.\d\d) times", limit(0.09))
    assert 1.02 < float(barely) < 1.3


def test_worse_than_its_margin_is_said_only_beyond_it(tmp_path: Any) -> None:
    for harmed, said in ((0.0135, "worse"), (0.025, "worse than its margin")):
        columns = user_columns(21, 150_000, reporters=(0.01, harmed))
        (arm,) = analysed(tmp_path, columns, planned_n=30_000).arms
        effect = next(one for one in arm.effects if one.metric == "reporters")
        assert says(effect) == said
        assert (effect.lower[-1] > 0.25 * effect.control) == (said != "worse")
        # A harm that is found stops the arm in both cases.
        assert arm.verdict == "stop"


def test_an_effect_that_turns_is_not_called_better(tmp_path: Any) -> None:
    """The first ten days are good for one arm, the next ten much better for the other."""
    good, bad = user_columns(27, 30_000, uplift=0.5), user_columns(28, 120_000, uplift=0.5)
    later = {"control": "fresher", "fresher": "control"}
    for name in ("arm", "computed_arm"):
        bad[name] = np.array([later[str(arm)] for arm in bad[name]])
    bad["user"] = [f"later-{user}" for user in bad["user"]]
    bad["first_exposure_ms"] = bad["first_exposure_ms"] + 20 * DAY_MS
    for name in ("pre_impressions", "pre_take_rate"):
        del good[name], bad[name]
    both = {name: np.concatenate([good[name], bad[name]]) for name in good}
    (arm,) = analysed(tmp_path, both, guardrails={}).arms
    assert arm.effects[0].changed
    assert arm.verdict == "not shown"
    assert "the effect changed" in arm.reason


def table_of(seed: int, users: int) -> UserTable:
    """Equal arms in memory: one user enters after the other over 12 days, windows of three days."""
    rng = np.random.default_rng(seed)
    own, _ = readers(rng, users, heavy=1.7)
    entered = np.arange(users) * 12 * DAY_MS / users
    complete = entered <= 9 * DAY_MS
    # What is summed so far is a part, and of one arm another part: it must not count.
    arm = rng.integers(2, size=users)
    part = np.where(complete, 1.0, np.where(arm > 0, 0.9, 0.2))
    known = np.where(own[:, 4] > 0, np.nan, own[:, 3])
    return UserTable(
        arm=arm,
        computed_arm=arm,
        first_exposure_ms=entered,
        complete=complete,
        served=own[:, 1],
        impressions=own[:, 1],
        impressions_before=known,
        sums={"take_rate": own[:, 0] * part},
        sums_before={"take_rate": np.where(own[:, 4] > 0, np.nan, own[:, 2])},
        elsewhere={},
    )


def effect(seed: int, users: int, cap: float | None = None) -> Effect:
    metrics = {"take_rate": {"per": "impression", "cap": cap}}
    experiment = experiment_of(guardrails={}, planned_n=users * 3 // 8, metrics=metrics)
    return effect_of(table_of(seed, users), experiment, "take_rate", "fresher")


def test_equal_arms_are_rarely_found_different_with_windows_longer_than_a_look() -> None:
    found = [effect(seed, 8_000) for seed in range(400)]
    assert all(len(one.users) == 10 and one.users[-1] <= 6_001 for one in found)
    assert np.mean([one.better or one.worse for one in found]) <= 0.04


def test_a_cap_bounds_what_one_user_adds() -> None:
    capped, plain = effect(1, 8_000, cap=30.0), effect(1, 8_000)
    assert capped.upper[-1] - capped.lower[-1] < plain.upper[-1] - plain.lower[-1]


def test_the_page_has_the_report_and_pictures_and_is_the_same_twice(tmp_path: Any) -> None:
    columns = user_columns(25, 40_000, uplift=0.2)
    columns["hiders"] = np.zeros(40_000)
    columns["never"] = np.zeros(40_000)
    report = analysed(tmp_path, columns, metrics={"never": {"per": "user"}})
    page = page_of(report)
    assert page == page_of(analysed(tmp_path, columns, metrics={"never": {"per": "user"}}))
    assert page.count("<svg") == 2
    assert report.conclusion.replace("'", "&#x27;") in page
    assert "weights, offset &lt;17&gt;" in page
    assert "nan" not in page
    stopped = page_of(analysed(tmp_path, {**columns, "computed_arm": columns["arm"][::-1]}))
    assert "<svg" not in stopped
    assert "Nothing may be concluded" in stopped
