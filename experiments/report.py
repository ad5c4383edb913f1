"""The report of an experiment: what must hold first, then effects, then what may be concluded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feedmill.events.experiment import Experiment
from feedmill.experiments.checks import Check, ExperimentRecord, checks_of
from feedmill.experiments.effects import (
    Effect,
    between_days,
    effect_of,
    segments,
    tuned_at,
)
from feedmill.experiments.table import DAY_MS, UserTable

# Readers of Sundays are others than those of Mondays.
MIN_DAYS = 14

LIMITS = (
    "The effect is that on the arm's readers while the others read the control: all share one pool"
    " of posts and its counters, so what it would be for everybody is not shown.",
    "All readers of an arm see the same lists: the intervals are for these lists and this time.",
    "An estimate at a stop runs high, by 1.3 to 1.45 times where the power is low.",
)


@dataclass(frozen=True)
class ArmReport:
    """The effects of one arm, and what they come to.

    Attributes
    ----------
    verdict
        `ship`: the primary metric is better and no guardrail worse.  `stop`: the primary metric is
        worse, or a guardrail by its margin.  Else `go on`, or `not shown` at the planned n.
    reason
        Why, in a sentence.
    other_lists
        The primary difference with its interval over days, once the planned n is reached.
    """

    arm: str
    verdict: str
    reason: str
    effects: tuple[Effect, ...]
    segments: tuple[tuple[str, Effect], ...]
    other_lists: tuple[float, float, float] | None


@dataclass(frozen=True)
class Report:
    """All that an analysis says; `arms` is empty if a check failed."""

    name: str
    users: int
    complete: int
    days: float
    checks: tuple[Check, ...]
    arms: tuple[ArmReport, ...]
    changes: tuple[str, ...]
    conclusion: str

    @property
    def valid(self) -> bool:
        """Whether all checks hold, so that effects are shown."""
        return all(check.state != "failed" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "experiment": self.name,
            "users": self.users,
            "complete": self.complete,
            "days": round(self.days, 2),
            "valid": self.valid,
            "checks": [
                {"check": one.name, "state": one.state, "found": one.found} for one in self.checks
            ],
            "arms": [_arm_dict(arm) for arm in self.arms],
            "changes": list(self.changes),
            "conclusion": self.conclusion,
            "limits": list(LIMITS) if self.valid else [],
        }


def report_of(
    name: str, table: UserTable, experiment: Experiment, record: ExperimentRecord
) -> Report:
    """Analyse a table: all checks, and if none failed the effect of every arm."""
    checks = tuple(checks_of(table, experiment, record))
    exposed = table.first_exposure_ms[~np.isnan(table.first_exposure_ms)]
    days = float(exposed.max() - exposed.min()) / DAY_MS if len(exposed) else 0.0
    failed = next((check for check in checks if check.state == "failed"), None)
    arms: tuple[ArmReport, ...] = ()
    if failed is None:
        arms = tuple(_arm(table, experiment, arm.name, days) for arm in experiment.treatments)
        conclusion = " ".join(f"{arm.arm}: {arm.reason}." for arm in arms)
    else:
        conclusion = f"Nothing may be concluded: {failed.name}: {failed.found}."
    return Report(
        name=name,
        users=len(table.arm),
        complete=int(table.complete.sum()),
        days=days,
        checks=checks,
        arms=arms,
        changes=record.changes,
        conclusion=conclusion,
    )


def _arm(table: UserTable, experiment: Experiment, arm: str, days: float) -> ArmReport:
    order = (experiment.primary, *experiment.guardrails)
    names = (*order, *(name for name in table.sums if name not in order))
    effects = tuple(effect_of(table, experiment, name, arm) for name in names)
    verdict, reason = _verdict(effects, experiment, days)
    divided = tuple(
        (segment, effect_of(table, experiment, experiment.primary, arm, users=users))
        for segment, users in segments(table)
        if all((table.complete & users & (table.arm == a)).any() for a in _pair(experiment, arm))
    )
    ended = effects[0].users[-1] >= tuned_at(experiment, arm)
    blocks = between_days(table, experiment, arm) if ended else None
    return ArmReport(arm, verdict, reason, effects, divided, blocks)


def _pair(experiment: Experiment, arm: str) -> tuple[int, int]:
    return 0, list(experiment.shares).index(arm)


def _verdict(effects: Sequence[Effect], experiment: Experiment, days: float) -> tuple[str, str]:
    primary = effects[0]
    guardrails = [effect for effect in effects if effect.role == "guardrail"]
    beyond = [effect.metric for effect in guardrails if effect.beyond_margin]
    open_ones = [effect.metric for effect in guardrails if not effect.not_inferior]
    size = f"{primary.metric} {change_text(primary)}"
    if primary.lower[-1] > primary.upper[-1]:
        moved = f"the intervals of some days exclude those of others in {primary.metric}"
        return "not shown", f"its effect moved over time: {moved}"
    if primary.worse or beyond:
        what = size if primary.worse else ", ".join(beyond)
        return "stop", f"it is worse for its readers than the control, in {what}"
    if primary.better and days < MIN_DAYS:
        return "go on", (
            f"it looks better, {size}, but {int(days * 10) / 10:g} days are not two whole weeks yet"
        )
    if primary.better and not open_ones:
        return "ship", (
            f"it is better for its readers than the control, {size}, and no guardrail is worse by"
            " its margin"
        )
    if primary.better:
        what = f"it is better, {size}, but it is not shown yet that it is not worse in"
        return _unfinished(primary, experiment), f"{what} {', '.join(open_ones)}"
    return _unfinished(primary, experiment), f"no difference is shown, {size}"


def _unfinished(primary: Effect, experiment: Experiment) -> str:
    planned = tuned_at(experiment, primary.arm)
    return "go on" if primary.users[-1] < planned else "not shown"


def change_text(effect: Effect) -> str:
    """Return the relative change with its interval, as of the last look."""
    parts = relative(effect)
    if parts is None:
        return f"{effect.estimates[-1]:+.3g}"
    return f"{parts[0]:+.1%} ({parts[1]:+.1%} to {parts[2]:+.1%})"


def relative(effect: Effect) -> tuple[float, float, float] | None:
    """Return change and bounds as parts of the control's value; None where it has none."""
    bounds = (effect.estimates[-1], effect.lower[-1], effect.upper[-1])
    if not effect.control or not np.isfinite(bounds).all():
        return None
    change, lower, upper = (float(one / effect.control) for one in bounds)
    return change, lower, upper


def _arm_dict(arm: ArmReport) -> dict[str, Any]:
    return {
        "arm": arm.arm,
        "verdict": arm.verdict,
        "reason": arm.reason,
        "other_lists": None if arm.other_lists is None else [*map(_number, arm.other_lists)],
        "metrics": [_effect_dict(effect) for effect in arm.effects],
        "segments": [
            {"segment": segment, **_effect_dict(effect), "role": "exploratory"}
            for segment, effect in arm.segments
        ],
    }


def _effect_dict(effect: Effect) -> dict[str, Any]:
    return {
        "metric": effect.metric,
        "role": effect.role,
        "control": _number(effect.control),
        "treated": _number(effect.treated),
        "users": int(effect.users[-1]),
        "difference": _number(effect.estimates[-1]),
        "lower": _number(effect.lower[-1]),
        "upper": _number(effect.upper[-1]),
        "variance_saved": _number(effect.saved),
        "better": effect.better,
        "worse": effect.worse,
        "first_look": effect.first_look,
        "not_inferior": effect.not_inferior,
        "looks": [
            [int(users), *map(_number, bounds)]
            for users, *bounds in zip(
                *(effect.users, effect.estimates, effect.lower, effect.upper), strict=True
            )
        ],
    }


def _number(value: float) -> float | None:
    return float(f"{value:.8g}") if np.isfinite(value) else None
