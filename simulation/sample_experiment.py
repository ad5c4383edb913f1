"""A finished experiment on one dial to try `feedmill tune front` with: **all simulated**."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from feedmill.events.signal import SignalNames
from feedmill.events.weights import weights_decoder

# By half-life, the control's first, what its readers take and reply beside the control's.
_ARMS: Final = ((24, 1.0, 1.0), (3, 1.02, 0.8), (6, 1.1, 0.85), (12, 1.06, 1.0), (96, 0.92, 1.0))
_USERS, _DAYS, _DAY_MS = 12_500, 32, 86_400_000
_FIRST_MS: Final = 1_767_225_600_000  # 2026-01-01


def sample_experiment(random: np.random.Generator) -> Mapping[str, bytes]:
    """Return the files by name: the experiment, its record, and a row a user."""
    changed = {f"half_life_hours-{hours}": {"half_life_hours": hours} for hours, _, _ in _ARMS[1:]}
    patches: dict[str, dict[str, int]] = {"control": {}, **changed}
    arms = [{"name": name, "share": 2000, "weights": patch} for name, patch in patches.items()]
    weights = weights_decoder(SignalNames()).default.as_dict()
    of_arms = {name: {**weights, **patch} for name, patch in patches.items()}
    feed = {"offset": 7, "changed": False, "arms": of_arms, "share": 0.8}
    record = {"gaps": [], "overlap": dict.fromkeys(changed, 0.6), "started_ms": _FIRST_MS}
    setting = {
        **{"arms": arms, "feeds": ["global"], "salt": "sample", "planned_n": 2_000},
        **{"window_hours": 24, "guardrails": {"actions": 0.05}, "stopped": True},
        "metrics": {"replies": {"per": "user", "kinds": ["reply"]}},
    }
    return {
        "tune.json": (json.dumps(setting, indent=1) + "\n").encode(),
        "tune-record.json": (json.dumps({**record, "weights": {"global": feed}}) + "\n").encode(),
        "tune-users.csv": _users(random, list(patches)),
    }


def _users(random: np.random.Generator, arms: list[str]) -> bytes:
    arm = random.integers(len(arms), size=_USERS)
    _, take, reply = np.array(_ARMS).T
    level, rate = random.lognormal(-0.125, 0.5, _USERS), random.beta(10, 40, _USERS)
    seen = random.poisson(8 * level[:, None], (_USERS, 2))
    taken = random.binomial(seen, np.minimum(rate * take[arm], 1)[:, None])
    replies = random.binomial(taken, 0.25 * reply[arm][:, None])
    before = random.poisson(8 * level)
    names = [arms[place] for place in arm]
    columns: dict[str, Any] = {
        **{"user": range(_USERS), "arm": names, "computed_arm": names},
        "first_exposure_ms": _FIRST_MS + random.integers(_DAYS * _DAY_MS, size=_USERS),
        "complete": ["true"] * _USERS,
        "served": seen.sum(axis=1) + random.poisson(6, _USERS),
        **{"pre_impressions": before, "pre_take_rate": random.binomial(before, rate)},
    }
    by_day = {"impressions": seen, "take_rate": taken, "replies": replies}
    by_day["actions"] = replies + random.binomial(taken, 0.5)
    for name, values in by_day.items():
        columns |= {name: values.sum(axis=1)}
        columns |= {f"on_day{day}_{name}": values[:, day] for day in (0, 1)}
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return file.getvalue().encode()
