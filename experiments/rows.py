"""The tables of a report, as the terminal and the page show them; `>` aligns a column right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feedmill.experiments.checks import Check
from feedmill.experiments.effects import Effect
from feedmill.experiments.report import ArmReport, relative

CHECK_COLUMNS = ("check", "state", "found")
EFFECT_COLUMNS = ("metric", "role", "control>", "arm>", "change>", "from>", "to>", "says")


def check_rows(checks: Sequence[Check]) -> list[list[str]]:
    """Return a row for each check."""
    return [[check.name, check.state, check.found] for check in checks]


def effect_rows(arm: ArmReport) -> list[list[str]]:
    """Return a row for each metric, and one for the primary metric of each part of the readers."""
    rows = [_row(effect.metric, effect) for effect in arm.effects]
    for segment, effect in arm.segments:
        _, _, *others = _row("", effect)
        rows.append([segment, "exploratory", *others])
    if arm.other_lists is not None:
        primary, found = arm.effects[0], arm.other_lists
        shown = [f"{one / primary.control:+.1%}" if primary.control else "" for one in found]
        contains = found[1] <= 0 <= found[2]
        rows.append(
            [
                *(f"{primary.metric}, other lists", "over days", "", "", *shown),
                "no difference shown" if contains else "differs over days too",
            ]
        )
    return rows


def _row(name: str, effect: Effect) -> list[str]:
    change = relative(effect)
    parts = ("", "", "") if change is None else tuple(f"{part:+.1%}" for part in change)
    # Where nobody had an impression there is no value.
    values = (f"{one:.4g}" if np.isfinite(one) else "" for one in (effect.control, effect.treated))
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
