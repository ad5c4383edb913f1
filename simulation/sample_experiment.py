"""A finished experiment on one dial to try `feedmill tune front` with: **all simulated**.

Readers of posts that are half as old take more and reply less, down to a point.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feedmill.events.signal import SignalNames
from feedmill.events.weights import weights_decoder

Numbers = npt.NDArray[np.int64]

# By arm its half-life, and what its readers take and reply beside the control's.
_ARMS: Final[Mapping[str, tuple[float, float, float]]] = {
    "control": (24, 1.0, 1.0),
    "half_life_hours-3": (3, 1.02, 0.8),
    "half_life_hours-6": (6, 1.1, 0.85),
    "half_life_hours-12": (12, 1.06, 1.0),
    "half_life_hours-96": (96, 0.92, 1.0),
}
_USERS, _DAYS, _DAY_MS = 12_500, 20, 86_400_000
_FIRST_MS: Final = 1_767_225_600_000  # 2026-01-01


def sample_experiment(random: np.random.Generator) -> Mapping[str, bytes]:
    """Return the files by name: the experiment, its record, and a row a user."""
    names = SignalNames()
    weights = weights_decoder(names).default.as_dict()
    arms = [
        {"name": name, "share": 2000, **({} if place == 0 else {"weights": {"half_life_hours": h}})}
        for place, (name, (h, _, _)) in enumerate(_ARMS.items())
    ]
    setting = {
        "arms": arms,
        "feeds": ["global"],
        "salt": "sample",
        "planned_n": 2_000,
        "window_hours": 24,
        "guardrails": {"actions": 0.05},
        "metrics": {"replies": {"per": "user", "kinds": ["reply"]}},
        "stopped": True,
    }
    of_arms = {name: {**weights, "half_life_hours": h} for name, (h, _, _) in _ARMS.items()}
    record = {
        "gaps": [],
        "overlap": dict.fromkeys([*_ARMS][1:], 0.6),
        "started_ms": _FIRST_MS,
        "weights": {"global": {"offset": 7, "changed": False, "arms": of_arms, "share": 0.8}},
    }
    return {
        "tune.json": (json.dumps(setting, indent=1) + "\n").encode(),
        "tune-record.json": (json.dumps(record) + "\n").encode(),
        "tune-users.csv": _users(random),
    }


def _users(random: np.random.Generator) -> bytes:
    arm = random.integers(len(_ARMS), size=_USERS)
    _, take, reply = np.array([*_ARMS.values()]).T
    exposed = _FIRST_MS + random.integers(_DAYS * _DAY_MS, size=_USERS)
    level, rate = random.lognormal(-0.125, 0.5, _USERS), random.beta(10, 40, _USERS)
    seen = random.poisson(8 * level[:, None], (_USERS, 2))
    taken = random.binomial(seen, np.minimum(rate * take[arm], 1)[:, None])
    replies = random.binomial(taken, 0.25 * reply[arm][:, None])
    actions = replies + random.binomial(taken, 0.5)
    before = random.poisson(8 * level)
    columns: dict[str, Any] = {
        "user": np.arange(_USERS),
        "arm": [[*_ARMS][place] for place in arm],
        "computed_arm": [[*_ARMS][place] for place in arm],
        "first_exposure_ms": exposed,
        "complete": ["true"] * _USERS,
        "served": seen.sum(axis=1) + random.poisson(6, _USERS),
        "impressions": seen.sum(axis=1),
        "pre_impressions": before,
        "pre_take_rate": random.binomial(before, rate),
    }
    for name, values in {"take_rate": taken, "actions": actions, "replies": replies}.items():
        columns[name] = values.sum(axis=1)
        columns |= {f"on_day{day}_{name}": values[:, day] for day in (0, 1)}
    columns |= {f"on_day{day}_impressions": seen[:, day] for day in (0, 1)}
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue().encode()
