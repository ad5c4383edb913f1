"""Curves as small SVG files: the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from feedmill.training.evaluation.metrics import Points

_SIDE, _GAP, _TOP, _BOTTOM = 200, 56, 44, 44
_FONT = 'font-family="sans-serif" font-size="11"'


@dataclass(frozen=True)
class Panel:
    """One curve in the unit square."""

    title: str
    across: str
    up: str
    points: Points
    diagonal: bool = False
    dots: bool = False


def svg(title: str, panels: Sequence[Panel]) -> str:
    """Return the panels side by side on a white background, as SVG."""
    width = len(panels) * (_SIDE + _GAP) + 16
    height = _TOP + _SIDE + _BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="16" {_FONT} font-weight="bold">{escape(title)}</text>',
    ]
    for index, panel in enumerate(panels):
        lines.append(f'<g transform="translate({_GAP - 8 + index * (_SIDE + _GAP)} {_TOP})">')
        lines += [*_frame(panel), *_curve(panel), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def _frame(panel: Panel) -> list[str]:
    lines = [
        f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#999"/>',
        f'<text x="{_SIDE // 2}" y="-6" text-anchor="middle" {_FONT}>{escape(panel.title)}</text>',
        f'<text x="{_SIDE // 2}" y="{_SIDE + 32}" text-anchor="middle" {_FONT}>'
        f"{escape(panel.across)}</text>",
        f'<text x="-30" y="{_SIDE // 2}" text-anchor="middle" {_FONT} '
        f'transform="rotate(-90 -30 {_SIDE // 2})">{escape(panel.up)}</text>',
    ]
    for tick in (0.0, 0.5, 1.0):
        at = round(tick * _SIDE)
        lines.append(
            f'<text x="{at}" y="{_SIDE + 16}" text-anchor="middle" {_FONT}>{tick:g}</text>'
        )
        lines.append(f'<text x="-6" y="{_SIDE - at + 4}" text-anchor="end" {_FONT}>{tick:g}</text>')
    if panel.diagonal:
        lines.append(f'<path d="M0 {_SIDE}L{_SIDE} 0" stroke="#ccc" fill="none"/>')
    return lines


def _curve(panel: Panel) -> list[str]:
    places = [(f"{x * _SIDE:.1f}", f"{(1 - y) * _SIDE:.1f}") for x, y in panel.points]
    if not places:
        return []
    path = "L".join(f"{x} {y}" for x, y in places)
    lines = [f'<path d="M{path}" stroke="#06c" stroke-width="1.5" fill="none"/>']
    if panel.dots:
        lines += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="#06c"/>' for x, y in places]
    return lines
