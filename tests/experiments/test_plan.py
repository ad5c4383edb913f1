"""Sizes: against simulated sequences and bets, and what so many users cannot show."""

from pathlib import Path

import numpy as np
import pytest

from builders.experiment_figures import experiments_of, harm
from builders.experiment_tables import SETTING, experiment_of, user_columns, write_table
from feedmill.experiments.plan import Baseline, baselines_of, drift_for, plan_of
from feedmill.experiments.table import read_period

BASELINES = {
    "take_rate": Baseline(0.05, 0.122),
    "actions": Baseline(1.0, 2.0),
    "reporters": Baseline(0.01, 0.0),
}


@pytest.mark.parametrize(("arms", "factor"), [(2, 1.7), (4, 2.15), (8, 2.45)])
def test_the_sequence_takes_so_many_times_the_users_of_one_look(arms: int, factor: float) -> None:
    drift = drift_for(0.05 / (arms - 1), 0.8, 2)
    assert drift**2 / (1.96 + 0.8416) ** 2 == pytest.approx(factor, rel=0.03)


def test_the_planned_size_has_the_power_that_simulated_experiments_have() -> None:
    experiment = experiment_of(guardrails={})
    (size,) = plan_of(experiment, BASELINES, effect=0.05).sizes
    batches = round(size.users / 100 / 28)
    planned = batches * 28 * 100
    found = experiments_of(1_000, looks=28, batches=batches, planned=planned, uplift=0.05)
    assert abs(found.found - 0.8) < 0.05


def test_a_guardrail_of_a_harm_has_the_power_that_simulated_bets_have() -> None:
    experiment = experiment_of(guardrails={"reporters": 0.25})
    plan = plan_of(experiment, BASELINES, effect=0.05)
    assert plan.miss == 0.1
    size = plan.sizes[1]
    _, shown = harm(4_000, (0.01, 0.01), round(size.users), 0.25)
    assert abs(shown - 0.9) < 0.03


def test_what_the_planned_users_do_not_show_is_named_with_what_they_show() -> None:
    found = plan_of(experiment_of(guardrails={"reporters": 0.1}), BASELINES, effect=0.1)
    assert [size.metric for size in found.too_small] == ["reporters"]
    least = found.too_small[0].least_change
    again = plan_of(experiment_of(guardrails={"reporters": least}), BASELINES, effect=0.1)
    assert again.sizes[1].users == pytest.approx(SETTING["planned_n"], rel=1e-3)


@pytest.mark.parametrize(
    ("users_a_day", "days"), [(1e9, 35), (4_500, 35), (4_000, 35), (3_500, 42)]
)
def test_it_runs_for_whole_weeks_and_four_at_least(users_a_day: float, days: int) -> None:
    assert plan_of(experiment_of(), BASELINES, effect=0.05, users_a_day=users_a_day).days == days


def test_smaller_arms_take_more_users() -> None:
    arms = [
        {"name": "control", "share": 9000},
        {"name": "b", "share": 1000, "weights": {"quality": 2}},
    ]
    equal = plan_of(experiment_of(), BASELINES, effect=0.05, users_a_day=4e3)
    unequal = plan_of(experiment_of(arms=arms), BASELINES, effect=0.05, users_a_day=4e3)
    for one, other in zip(equal.sizes, unequal.sizes, strict=True):
        # Of the smallest arm fewer, because the control is larger; in all many more.
        assert one.users / 2 < other.users < one.users
    assert equal.days is not None
    assert unequal.days is not None
    assert unequal.days > 2 * equal.days


def test_baselines_come_from_a_table_of_the_time_before(tmp_path: Path) -> None:
    columns = user_columns(5, 20_000)
    whole = {name: columns[name] for name in ("user", "impressions", "take_rate", "actions")}
    whole["reporters"] = columns["reporters"]
    plain = baselines_of(
        read_period(write_table(tmp_path / "t.csv", whole), experiment_of()), experiment_of()
    )
    taken, shown = np.asarray(whole["take_rate"]), np.asarray(whole["impressions"])
    cap = np.quantile(shown, 0.999, method="lower")
    kept = np.minimum(1, cap / np.maximum(shown, 1))
    taken, shown = taken * kept, shown * kept
    taken = np.minimum(taken, np.quantile(taken, 0.999, method="lower"))
    value = taken.sum() / shown.sum()
    assert plain["take_rate"].value == pytest.approx(value)
    scores = (taken - value * shown) / shown.mean()
    assert plain["take_rate"].deviation == pytest.approx(scores.std(ddof=1), rel=1e-3)
    # With the period before covariates save users.
    whole |= {name: columns[name] for name in ("pre_impressions", "pre_take_rate")}
    cuped = baselines_of(
        read_period(write_table(tmp_path / "t.parquet", whole), experiment_of()), experiment_of()
    )
    assert cuped["take_rate"].deviation < plain["take_rate"].deviation * 0.95
