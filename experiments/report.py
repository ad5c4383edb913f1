"""The report of an experiment: what must hold first, then effects, then what may be concluded.

Each look is kept, so that whoever looks again knows of the looks before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from feedmill.events.errors import UsageError
from feedmill.events.experiment import Experiment
from feedmill.experiments.checks import Check, ExperimentRecord, checks_of
from feedmill.experiments.effects import (
    Bounds,
    Effect,
    OtherLists,
    effect_of,
    other_lists,
    segments,
    tuned_at,
)
from feedmill.experiments.table import UserTable

# In fewer days nobody can tell how long lists stay good or bad; they are whole weeks.
MIN_DAYS = 28
TOO_FEW_DAYS = (
    "{days} days are not four whole weeks yet: fewer do not tell how long lists stay good"
)

# Names of columns, and rows of cells.
Table = tuple[Sequence[str], list[list[str]]]

LIMITS = (
    "The effect is that on the arm's readers while the others read the control: all share one pool"
    " of posts and its counters, so what it would be for everybody is not shown.",
    "All readers of an arm see the same lists: the intervals are for these lists and this time, but"
    " for that over days, which a `ship` needs. A copy of the control cannot show what lists do.",
    "Lists that stay good for days look like an effect. The interval over days is wider by how"
    " lists of one day correlate with those of the next (r), where days vary by more than chance."
    " Of 100 experiments with equal arms whose lists correlate by .8, up to 7 end in a verdict.",
)
# The columns of tables, as the terminal and the page show them; `>` aligns a column right.
_CHECK_COLUMNS = ("check", "state", "found")
_EFFECT_COLUMNS = ("metric", "role", "control>", "arm>", "change>", "from>", "to>", "says")
_RUNS_HIGH = (
    "The estimate of {arm} is shown for being large, so it runs high: by {by:.2f} times if the"
    " effect is as large, by more if it is smaller."
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
        The primary difference over users and days; None where nothing tells it.
    """

    arm: str
    verdict: str
    reason: str
    effects: tuple[Effect, ...]
    segments: tuple[tuple[str, Effect], ...]
    other_lists: OtherLists | None


@dataclass(frozen=True)
class Report:
    """All that an analysis says; `arms` is empty if a check failed."""

    name: str
    users: int
    complete: int
    days: int
    checks: tuple[Check, ...]
    arms: tuple[ArmReport, ...]
    changes: tuple[str, ...]
    conclusion: str

    @property
    def limits(self) -> tuple[str, ...]:
        """What the effects do not say, in a sentence each; () where none is shown."""
        high = [(arm.arm, arm.effects[0].runs_high) for arm in self.arms]
        lines = (_RUNS_HIGH.format(arm=arm, by=by) for arm, by in high if by > 1.005)
        return (*LIMITS, *lines) if self.valid else ()

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
            "days": self.days,
            "valid": self.valid,
            "checks": [
                {"check": check.name, "state": check.state, "found": check.found}
                for check in self.checks
            ],
            "arms": [_arm_dict(arm) for arm in self.arms],
            "changes": list(self.changes),
            "conclusion": self.conclusion,
            "limits": list(self.limits),
        }


def report_of(
    name: str, table: UserTable, experiment: Experiment, record: ExperimentRecord
) -> Report:
    """Analyse a table: all checks, and if none failed the effect of every arm."""
    if record.started_ms is not None:
        early = table.first_exposure_ms < record.started_ms
        record = structs.replace(record, early=record.early + int(early.sum()))
        table = table.of(~early)
    checks = tuple(checks_of(table, experiment, record))
    days = entry_days(table, experiment)
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


def entry_days(table: UserTable, experiment: Experiment) -> int:
    """Return on how many days every arm got users whose windows are complete by now."""
    every = [
        set(table.entry_day[table.complete & (table.arm == arm)].tolist())
        for arm in range(len(experiment.arms))
    ]
    return len(set.intersection(*every))


def _arm(table: UserTable, experiment: Experiment, arm: str, days: int) -> ArmReport:
    order = (experiment.primary, *experiment.guardrails)
    names = (*order, *(name for name in table.sums if name not in order))
    effects = tuple(effect_of(table, experiment, name, arm) for name in names)
    lists = other_lists(table, experiment, effects[0])
    verdict, reason = _verdict(effects, lists, experiment, days)
    divided = tuple(
        (segment, effect_of(table, experiment, experiment.primary, arm, users=users))
        for segment, users in segments(table)
        if all((table.complete & users & (table.arm == a)).any() for a in _pair(experiment, arm))
    )
    return ArmReport(arm, verdict, reason, effects, divided, lists)


def _pair(experiment: Experiment, arm: str) -> tuple[int, int]:
    return 0, list(experiment.shares).index(arm)


def _verdict(
    effects: Sequence[Effect], lists: OtherLists | None, experiment: Experiment, days: int
) -> tuple[str, str]:
    primary = effects[0]
    guardrails = [effect for effect in effects if effect.role == "guardrail"]
    beyond = [effect.metric for effect in guardrails if effect.stops]
    open_ones = [effect.metric for effect in guardrails if not effect.not_inferior]
    size = f"{primary.metric} {change_text(primary)}"
    crossed, unfinished = primary.better or primary.worse, _unfinished(primary, experiment)
    has_interval = bool(np.isfinite((primary.lower[-1], primary.upper[-1])).all())
    differs = lists is not None and not lists.lower <= 0 <= lists.upper
    is_early = days < MIN_DAYS
    others = "nobody knows yet"
    if lists is not None:
        others = f"may show no difference: from day to day lists correlate by {lists.alike:.1f}"
    looks = f"it looks {'better' if primary.better else 'worse'}, {size}, but"
    worse = f"it is worse for its readers than the control, in {', '.join(beyond) or size}"
    changed = f"the intervals of some days exclude those of others in {primary.metric}"
    shipped = f"it is better for its readers than the control, {size}, and no guardrail is worse by"
    # The first that holds decides.
    verdicts = (
        (beyond, "stop", worse),
        (not has_interval, unfinished, f"{primary.metric} has no interval yet"),
        (primary.changed, "not shown", f"the effect changed: {changed}"),
        (not crossed, unfinished, f"no difference is shown, {size}"),
        (not differs, unfinished, f"{looks} what other lists of the same settings do {others}"),
        (is_early, "go on", f"{looks} {TOO_FEW_DAYS.format(days=days)}"),
        (primary.worse, "stop", worse),
        (not open_ones, "ship", f"{shipped} its margin"),
    )
    still_open = f"it is better, {size}, but it is not shown yet that it is not worse in"
    decided = ((verdict, reason) for holds, verdict, reason in verdicts if holds)
    return next(decided, (unfinished, f"{still_open} {', '.join(open_ones)}"))


def _unfinished(primary: Effect, experiment: Experiment) -> str:
    planned = tuned_at(experiment, primary.arm)
    return "go on" if primary.users[-1] < planned else "not shown"


def change_text(effect: Effect) -> str:
    """Return the relative change with its interval, as of the last look."""
    parts = relative(effect)
    if parts is None:
        return f"{effect.estimates[-1]:+.3g}"
    return f"{parts[0]:+.1%} ({parts[1]:+.1%} to {parts[2]:+.1%})"


def relative(effect: Effect) -> Bounds | None:
    """Return change and bounds as parts of the control's value; None where it has none."""
    bounds = (effect.estimates[-1], effect.lower[-1], effect.upper[-1])
    # Next to the difference a control of nothing, adjusted by covariates, is a rounding error.
    is_nothing = abs(effect.control) < 1e-9 * abs(effect.estimates[-1])
    if not effect.control or is_nothing or not np.isfinite(bounds).all():
        return None
    change, lower, upper = (float(bound / effect.control) for bound in bounds)
    return change, lower, upper


def _arm_dict(arm: ArmReport) -> dict[str, Any]:
    lists = arm.other_lists
    return {
        "arm": arm.arm,
        "verdict": arm.verdict,
        "reason": arm.reason,
        "other_lists": None if lists is None else [*map(_number, lists[:3])],
        "day_correlation": None if lists is None else lists.alike,
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
        "changed": effect.changed,
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


def keep_look(
    look: dict[str, Any],
    table: Path,
    experiment: Experiment,
    record: ExperimentRecord,
    at_ms: int,
) -> None:
    """Add a look to `looks.jsonl` beside the export's parts, without an export beside the table.

    Raises `UsageError`: what decides is not what the started setting says, or the file cannot be
    written.
    """
    offset = None if record.setting is None else record.setting.offset
    for name in ("primary", "planned_n"):
        said, asked = getattr(record.setting or experiment, name), getattr(experiment, name)
        if said != asked:
            raise UsageError(
                f"expected `{name}` {said!r}, as the setting at offset {offset} says, got"
                f" {asked!r}; `feedmill experiments join --experiment FILE` writes the setting"
            )
    file = (table.parent if record.export is None else Path(record.export)) / "looks.jsonl"
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    read = {"setting_offset": offset, "read": record.read, "table_sha256": digest}
    try:
        with file.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps({"at_ms": at_ms, **read, **look}) + "\n")
    except OSError as error:
        reason = f"the look cannot be kept, so it is not shown: {error.strerror}"
        raise UsageError(f"{file}: {reason}") from None


def check_table(checks: Sequence[Check]) -> Table:
    """Return the columns, and a row for each check."""
    return _CHECK_COLUMNS, [[check.name, check.state, check.found] for check in checks]


def effect_table(arm: ArmReport) -> Table:
    """Return the columns, and a row for each metric and for each part of the readers."""
    rows = [_row(effect.metric, effect) for effect in arm.effects]
    for segment, effect in arm.segments:
        _, _, *others = _row("", effect)
        rows.append([segment, "exploratory", *others])
    if arm.other_lists is not None:
        primary, found = arm.effects[0], arm.other_lists
        shown = [f"{one / primary.control:+.1%}" if primary.control else "" for one in found[:3]]
        contains = found.lower <= 0 <= found.upper
        days = f"over days (r {found.alike:.1f})"
        rows.append(
            [
                *(f"{primary.metric}, other lists", days, "", "", *shown),
                "no difference shown" if contains else "differs over days too",
            ]
        )
    return _EFFECT_COLUMNS, rows


def _row(name: str, effect: Effect) -> list[str]:
    change = relative(effect)
    parts = ("", "", "") if change is None else tuple(f"{part:+.1%}" for part in change)
    # Where nobody had an impression there is no value.
    values = (
        f"{value:.4g}" if np.isfinite(value) else "" for value in (effect.control, effect.treated)
    )
    return [name, effect.role, *values, *parts, says(effect)]


def says(effect: Effect) -> str:
    """Return what is shown of a metric."""
    if effect.beyond_margin:
        return "worse than its margin"
    if effect.worse:
        return "worse"
    if effect.better:
        return "better"
    if effect.not_inferior:
        return "not worse by its margin"
    return "not shown" if effect.role == "guardrail" else "no difference shown"
