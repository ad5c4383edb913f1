"""What `feedmill tune front` shows: rows of its tables, its pictures, and the page of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape

from feedmill.experiments.page import lines_of, page, table_of
from feedmill.experiments.rows import CHECK_COLUMNS, check_rows
from feedmill.experiments.tune_front import ArmChange, Front, FrontArm, change_text
from feedmill.experiments.tune_pictures import Axis, Point, Series, picture

_CHANGE = "+.0%"
LIMITS = (
    "Candidates are the arms that ran: nothing is said of values between them.",
    "All intervals hold together in 95 of 100 experiments, for one look and whichever arm.",
    "alpha and beta are one dial: only their ratio moves a list.",
)


def arm_columns(front: Front) -> list[str]:
    """Return the columns of the table of arms."""
    metrics = [one.metric for one in front.arms[-1].changes]
    return ["arm", *(f"{dial}>" for dial in front.dials), *metrics, "front>", "says"]


def arm_rows(front: Front) -> list[list[str]]:
    """Return a row for each arm: its places, its changes, and whether it is on the front."""
    control = front.arms[0]
    return [
        [
            arm.name,
            *(_times(arm.places[d] - control.places[d]) for d in front.dials),
            *([change_text(one) for one in arm.changes] or [""] * len(front.arms[-1].changes)),
            f"{arm.on_front:.0%}" if arm.is_on_front else "off",
            _said(arm, front),
        ]
        for arm in front.arms
    ]


def _times(doublings: float) -> str:
    return f"x{2**doublings:.3g}"


def _said(arm: FrontArm, front: Front) -> str:
    if arm.name == front.recommended:
        return "set it" if arm.changes else "keep it"
    return arm.why_not or ("better, and not best" if arm.changes else "")


def pictures_of(front: Front) -> Iterator[str]:
    """Yield the curves along each dial, and the arms by the primary and each other objective."""
    control, *others = front.arms
    for dial in front.dials:
        line = [arm for arm in others if _is_on(arm, control, dial)]
        if line:
            yield _curves(dial, control, line)
    for place, second in enumerate(others[0].changes[1:], 1):
        yield _scatter(front, place, second)


def _is_on(arm: FrontArm, control: FrontArm, dial: str) -> bool:
    """Whether an arm differs from the control on this dial alone."""
    moved = [one for one in arm.places if abs(arm.places[one] - control.places[one]) > 1e-9]
    return moved == [dial]


def _curves(dial: str, control: FrontArm, line: list[FrontArm]) -> str:
    series = []
    for place, first in enumerate(line[0].changes):
        points = [Point(0.0, 0.0)]
        for arm in line:
            one = arm.changes[place]
            if one.change is not None:
                x = arm.places[dial] - control.places[dial]
                points.append(Point(x, one.change, y_ends=_ends(one)))
        series.append(Series(f"{first.metric}, {first.role}", sorted(points)))
    across = Axis(f"{dial}: doublings from the control's value", "+.2g")
    return picture(f"Change by {dial}", across, Axis("change", _CHANGE), series)


def _scatter(front: Front, place: int, second: ArmChange) -> str:
    kept, off = [Point(0.0, 0.0, front.arms[0].name)], list[Point]()
    if not front.arms[0].is_on_front:
        kept, off = off, kept
    for arm in front.arms[1:]:
        first, other = arm.changes[0], arm.changes[place]
        if first.change is not None and other.change is not None:
            point = Point(first.change, other.change, arm.name, _ends(other), _ends(first))
            (kept if arm.is_on_front else off).append(point)
    series = [Series("on the front", kept, False), Series("off the front", off, False)]
    primary = front.arms[-1].primary.metric
    across = Axis(f"change of {primary}", _CHANGE)
    return picture(f"{primary} and {second.metric}", across, Axis(second.metric, _CHANGE), series)


def _ends(one: ArmChange) -> tuple[float, float] | None:
    return None if one.lower is None or one.upper is None else (one.lower, one.upper)


def front_page(front: Front) -> str:
    """Return the page; the same front gives the same bytes."""
    parts = [
        f'<p class="conclusion">{escape(front.conclusion)}</p>',
        "<h2>What must hold</h2>",
        *table_of(CHECK_COLUMNS, check_rows(front.checks)),
    ]
    if front.arms:
        parts += ["<h2>Arms</h2>", *table_of(arm_columns(front), arm_rows(front))]
        parts += [*pictures_of(front), "<h2>What this does not say</h2>", *lines_of(LIMITS)]
        parts += ["<h2>What everybody gets</h2>", *lines_of(front.everybody)]
        parts += ["<h2>Next</h2>", *lines_of(front.commands)]
        if front.following:
            parts.append(f"<pre>{escape(json.dumps(front.following, indent=1))}</pre>")
    return page(f"Tune {front.name}", parts)
