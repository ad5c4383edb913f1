"""Pictures of `feedmill tune` as SVG: curves along a dial, and arms by two objectives."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from feedmill.experiments.page import label, svg

_COLOURS = ("#036", "#a40", "#070", "#707", "#850", "#077", "#900", "#555")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 340, 70, 180, 34, 44


class Point(NamedTuple):
    """A point of a picture, with the ends of its intervals where it has some."""

    x: float
    y: float
    name: str = ""
    y_ends: Sequence[float] = ()
    x_ends: Sequence[float] = ()


class Series(NamedTuple):
    """Points of one colour, joined by a line or not."""

    name: str
    points: Sequence[Point]
    is_line: bool = True


def picture(title: str, series: Sequence[Series], form_x: str, form_y: str) -> str:
    """Return a picture whose numbers are written in these forms; it has lines at 0 and 0."""
    every = [point for one in series for point in one.points]
    xs = [0.0, *(x for p in every for x in (p.x, *p.x_ends))]
    ys = [0.0, *(y for p in every for y in (p.y, *p.y_ends))]
    (left, right), (bottom, top) = ((min(some), max(some)) for some in (xs, ys))

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (x - left) / ((right - left) or 1.0), (top - y) / ((top - bottom) or 1.0)
        wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + wide * across, _TOP + high * up

    def line(ends: Sequence[tuple[float, float]], style: str) -> str:
        placed = "L".join("{:.1f} {:.1f}".format(*at(*end)) for end in ends)
        return f'<path d="M{placed}" fill="none" {style}/>' if ends else ""

    dashed = 'stroke="#900" stroke-dasharray="4"'
    body = [line([(left, 0), (right, 0)], dashed), line([(0, bottom), (0, top)], dashed)]
    across, up = sorted({left, 0.0, right}), sorted({bottom, 0.0, top})
    body += [label(at(x, 0)[0], _HEIGHT - 20, format(x, form_x), "middle") for x in across]
    body += [label(_LEFT - 8, at(0, y)[1] + 4, format(y, form_y), "end") for y in up]
    for place, (name, points, is_line) in enumerate(series):
        colour = _COLOURS[place % len(_COLOURS)]
        stroke = f'stroke="{colour}"'
        body.append(f'<g fill="{colour}"><title>{escape(name)}</title>')
        body.append(line([(p.x, p.y) for p in points if is_line], f'{stroke} stroke-width="2"'))
        for p in points:
            x, y = at(p.x, p.y)
            body += [line([(p.x, end) for end in p.y_ends], stroke)]
            body += [line([(end, p.y) for end in p.x_ends], stroke)]
            body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>', label(x + 6, y - 6, p.name)]
        body.append(label(_WIDTH - _RIGHT + 14, _TOP + 18 * place + 12, name) + "</g>")
    return svg(title, _HEIGHT, body)
