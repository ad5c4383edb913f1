"""What `feedmill tune front` shows: rows of its table, its pictures, and the page of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape

from feedmill.experiments.page import lines_of, page, table_of
from feedmill.experiments.report import check_table
from feedmill.experiments.tune_front import ArmChange, Front, FrontArm
from feedmill.experiments.tune_pictures import Point, Series, picture

LIMITS = (
    "Candidates are the arms that ran: nothing is said of values between them.",
    "All intervals hold together in 95 of 100 experiments on the lists that were shown, for one"
    " look and whichever arm.",
    "The lists of other weeks may differ. Of 100 experiments whose lists vary by 1 % a day and"
    " correlate by .8 from day to day, 12 have an arm outside its interval and are not refused.",
    "alpha and beta are one dial: only their ratio moves a list.",
)


def arm_table(front: Front) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows: of each arm its places, its changes, and what is said of it."""
    control, dials = front.arms[0], list(front.arms[0].places)
    metrics = [one.metric for one in front.arms[-1].changes]
    rows = [
        [
            arm.name,
            *(f"x{2 ** (arm.places[dial] - control.places[dial]):.3g}" for dial in dials),
            *(map(str, arm.changes) if arm.changes else [""] * len(metrics)),
            f"{arm.on_front:.0%}" if arm.is_on_front else "off",
            "set it" if arm.changes and arm.name == front.recommended else arm.why_not,
        ]
        for arm in front.arms
    ]
    return ["arm", *(f"{dial}>" for dial in dials), *metrics, "front", "says"], rows


def pictures_of(front: Front) -> Iterator[str]:
    """Yield the curves along each dial, and the arms by the primary and each other objective."""
    control, *others = front.arms
    for dial in control.places:
        # Those that differ from the control on this dial alone.
        rest = [one for one in control.places if one != dial]
        line = [arm for arm in others if all(arm.places[d] == control.places[d] for d in rest)]
        if line:
            yield _curves(dial, control, line)
    for place in range(1, len(others[0].changes)):
        yield _scatter(front, place)


def _curves(dial: str, control: FrontArm, line: list[FrontArm]) -> str:
    series = []
    for place, first in enumerate(line[0].changes):
        points = [Point(0.0, 0.0)]
        for arm in line:
            x, one = arm.places[dial] - control.places[dial], arm.changes[place]
            if one.is_known:
                points.append(Point(x, one.change, "", (one.lower, one.upper)))
        series.append(Series(first.metric, sorted(points)))
    return picture(f"Change by {dial}, in doublings of the control's value", series, "+.2g", "+.0%")


def _scatter(front: Front, place: int) -> str:
    none = ArmChange("", 0.0, 0.0, 0.0)
    series = []
    for name, is_on in (("on the front", True), ("off the front", False)):
        points = []
        for arm in (one for one in front.arms if one.is_on_front == is_on):
            x, y = (arm.changes[at] if arm.changes else none for at in (0, place))
            if x.is_known and y.is_known:
                ends = (y.lower, y.upper), (x.lower, x.upper)
                points.append(Point(x.change, y.change, arm.name, *ends))
        series.append(Series(name, points, is_line=False))
    names = [one.metric for one in front.arms[-1].changes]
    title = f"Change of {names[0]}, across, and of {names[place]}, up"
    return picture(title, series, "+.0%", "+.0%")


def front_page(front: Front) -> str:
    """Return the page; the same front gives the same bytes."""
    parts = [
        f'<p class="conclusion">{escape(front.conclusion)}</p>',
        "<h2>What must hold</h2>",
        *table_of(*check_table(front.checks)),
    ]
    if front.arms:
        parts += ["<h2>Arms</h2>", *table_of(*arm_table(front)), *pictures_of(front)]
        parts += ["<h2>What this does not say</h2>", *lines_of([*LIMITS, *front.everybody])]
        parts += ["<h2>Next</h2>", *lines_of(front.commands)]
        parts.append(f"<pre>{escape(json.dumps(front.following, indent=1))}</pre>")
    return page(f"Tune {front.name}", parts)
