"""Pictures of `feedmill tune` as SVG: curves along a dial, and arms by two objectives."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from feedmill.experiments.pictures import label, svg

_COLOURS = ("#036", "#a40", "#070", "#707", "#850", "#077", "#900", "#555")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 340, 70, 180, 34, 44


class Point(NamedTuple):
    """A point of a picture, with the ends of its intervals where it has some."""

    x: float
    y: float
    name: str = ""
    y_ends: tuple[float, float] | None = None
    x_ends: tuple[float, float] | None = None


class Series(NamedTuple):
    """Points of one colour, joined by a line or not."""

    name: str
    points: Sequence[Point]
    is_line: bool = True


class Axis(NamedTuple):
    """What an axis shows, and how its numbers are written."""

    name: str
    form: str
    ticks: Sequence[float] = ()


def picture(title: str, across: Axis, up: Axis, series: Sequence[Series]) -> str:
    """Return a picture; the same points give the same bytes."""
    every = [point for one in series for point in one.points]
    xs = [0.0, *across.ticks, *(x for p in every for x in (p.x, *(p.x_ends or ())))]
    ys = [0.0, *up.ticks, *(y for p in every for y in (p.y, *(p.y_ends or ())))]
    left, right, bottom, top = min(xs), max(xs), min(ys), max(ys)
    wide, high = (right - left) or 1.0, (top - bottom) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        placed_x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (x - left) / wide
        return placed_x, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (top - y) / high

    def line(*ends: tuple[float, float], style: str) -> str:
        placed = "L".join("{:.1f} {:.1f}".format(*at(*end)) for end in ends)
        return f'<path d="M{placed}" fill="none" {style}/>'

    dashed = 'stroke="#900" stroke-dasharray="4"'
    body = [
        line((left, 0), (right, 0), style=dashed),
        line((0, bottom), (0, top), style=dashed),
        label(_LEFT, _HEIGHT - 8, across.name),
        label(4, _TOP - 2, up.name),
    ]
    body += [
        label(at(x, 0)[0], _HEIGHT - 24, format(x, across.form), "middle")
        for x in sorted({left, 0.0, right, *across.ticks})
    ]
    body += [
        label(_LEFT - 8, at(0, y)[1] + 4, format(y, up.form), "end")
        for y in sorted({bottom, 0.0, top})
    ]
    for place, (name, points, is_line) in enumerate(series):
        colour = _COLOURS[place % len(_COLOURS)]
        stroke = f'stroke="{colour}"'
        body.append(f'<g fill="{colour}"><title>{escape(name)}</title>')
        if is_line:
            body.append(line(*((p.x, p.y) for p in points), style=f'{stroke} stroke-width="2"'))
        for p in points:
            x, y = at(p.x, p.y)
            up_down = ((p.x, end) for end in p.y_ends or (p.y, p.y))
            aside = ((end, p.y) for end in p.x_ends or (p.x, p.x))
            body += [line(*up_down, style=stroke), line(*aside, style=stroke)]
            body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
            body.append(label(x + 6, y - 6, p.name))
        body.append(label(_WIDTH - _RIGHT + 14, _TOP + 18 * place + 12, name) + "</g>")
    return svg(title, _HEIGHT, body)
