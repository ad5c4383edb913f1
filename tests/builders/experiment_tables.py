"""Tables of an experiment's users, as `feedmill experiments analyse` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from builders.experiment_users import readers
from feedmill.events.experiment import Experiment, decode_experiment
from feedmill.events.signal import SignalNames
from feedmill.experiments.table import DAY_MS

STARTED_MS = 1_790_000_000_000

SETTING: dict[str, Any] = {
    "arms": [
        {"name": "control", "share": 5000},
        {"name": "fresher", "share": 5000, "weights": {"half_life_hours": 6}},
    ],
    "feeds": ["global"],
    "salt": "s-1",
    "planned_n": 63_000,
    "window_hours": 72,
    "guardrails": {"reporters": 0.25, "actions": 0.05},
}


def experiment_of(**changes: Any) -> Experiment:
    """The experiment of `SETTING` with some fields changed."""
    return decode_experiment({**SETTING, **changes}, SignalNames())


def with_copy() -> list[dict[str, Any]]:
    """Arms with a copy of the control."""
    return [
        {"name": "control", "share": 3333},
        {"name": "fresher", "share": 3333, "weights": {"half_life_hours": 6}},
        {"name": "again", "share": 3334, "control_copy": True},
    ]


def user_columns(
    seed: int,
    users: int,
    *,
    uplift: float = 0.0,
    reporters: tuple[float, float] = (0.01, 0.01),
    days: float = 32.0,
    arms: tuple[str, ...] = ("control", "fresher"),
) -> dict[str, Any]:
    """Users of the second arm have the uplift.  Windows of three days are over after `days` more.

    Sums of users whose window is not over are a part of what they will be.
    """
    rng = np.random.default_rng(seed)
    plain, lifted = readers(rng, users, uplift=uplift)
    arm = rng.integers(len(arms), size=users)
    own = np.where((arm == 1)[:, None], lifted, plain)
    entered = STARTED_MS + (rng.random(users) * days * DAY_MS).astype(np.int64)
    ends = STARTED_MS + int(days * DAY_MS)
    complete = entered + 3 * DAY_MS <= ends
    part = np.where(complete, 1.0, 0.3)
    taken, impressions, taken_before, before, new = own.T
    seen = np.floor(impressions * part)
    names = np.array(arms)
    reports = rng.random(users) < np.where(arm == 1, reporters[1], reporters[0])
    hidden = new > 0
    # On which of the four days that a window of three days touches.
    by_day = {
        name: rng.multinomial(np.floor(values * part).astype(int), [0.25] * 4)
        for name, values in (("impressions", impressions), ("take_rate", taken))
    }
    return {
        "user": [f"u{number}" for number in range(users)],
        "arm": names[arm],
        "computed_arm": names[arm],
        "first_exposure_ms": entered,
        "complete": complete,
        "served": seen + rng.poisson(8, users),
        "impressions": seen,
        "take_rate": np.floor(taken * part),
        "actions": rng.poisson(own[:, 0] * 0.5 * part + 0.5),
        "reporters": (reports & complete).astype(np.int64),
        "pre_impressions": pa.array(before, mask=hidden),
        "pre_take_rate": pa.array(taken_before, mask=hidden),
        "elsewhere_take_rate": rng.poisson(1.0, users),
        **{
            f"on_day{day}_{name}": values[:, day]
            for name, values in by_day.items()
            for day in range(4)
        },
        "arm_count": np.ones(users, dtype=np.int64),
        "client": np.array(["app", "web"])[rng.integers(2, size=users)],
    }


def write_table(path: Path, columns: dict[str, Any]) -> Path:
    """Write a table: Parquet or CSV by the name."""
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pa_parquet.write_table(table, path)
    else:
        pa_csv.write_csv(table, path)
    return path
