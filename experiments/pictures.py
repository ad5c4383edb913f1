"""Pictures of a report as SVG, by hand: the same report gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from feedmill.experiments.effects import Effect
from feedmill.experiments.report import relative

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 190, 20, 34, 44
_FONT = 'font-family="sans-serif" font-size="12"'
_SEQUENCE_HEIGHT = 260
_ROW = 26


def sequence_picture(effect: Effect) -> str:
    """Return the sequence of an effect over the users so far: bounds, estimate, and no effect."""
    shown = np.isfinite(effect.lower) & np.isfinite(effect.upper)
    title = f"{effect.arm}: difference in {effect.metric} by users with a complete window"
    users, scale = effect.users[shown], effect.control or 1.0
    low, middle, high = (
        one[shown] / scale for one in (effect.lower, effect.estimates, effect.upper)
    )
    if not len(users):
        return svg(title, 60, [label(10, 48, "no look yet")])
    # The first looks are wide: what is beyond three times the last is cut off.
    reach = 3 * max(abs(low[-1]), abs(high[-1]), 1e-12)
    bottom, top = max(low.min(), -reach), min(high.max(), reach)
    bottom, top = min(bottom, 0.0), max(top, 0.0)
    height = _SEQUENCE_HEIGHT - _TOP - _BOTTOM

    def place(at: float, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / users[-1]
        y = _TOP + height * (top - min(max(value, bottom), top)) / (top - bottom)
        return f"{x:.1f} {y:.1f}"

    band = [place(*at) for at in zip(users, high, strict=True)]
    band += [place(*at) for at in zip(users[::-1], low[::-1], strict=True)]
    line = [place(*at) for at in zip(users, middle, strict=True)]
    body = [
        f'<path d="M{"L".join(band)}Z" fill="#cde" stroke="#69c"/>',
        f'<path d="M{"L".join(line)}" fill="none" stroke="#036" stroke-width="2"/>',
        f'<path d="M{place(0, 0)}L{place(users[-1], 0)}" stroke="#900" stroke-dasharray="4"/>',
    ]
    unit, form = ("% of the control", "+.1%") if effect.control else ("difference", "+.3g")
    body.append(label(10, _TOP + height / 2, unit))
    for value in sorted({bottom, 0.0, top}):
        y = float(place(0, value).split()[1])
        body.append(label(_LEFT - 8, y + 4, format(value, form), "end"))
    body += [
        label(_LEFT, _SEQUENCE_HEIGHT - 14, "0"),
        label(
            _WIDTH - _RIGHT, _SEQUENCE_HEIGHT - 14, f"{users[-1]:,.0f} users of both arms", "end"
        ),
    ]
    return svg(title, _SEQUENCE_HEIGHT, body)


def forest_picture(title: str, rows: Sequence[tuple[str, Effect]]) -> str:
    """Return the relative change of each metric with its interval, a row each."""
    changes = [(name, relative(effect)) for name, effect in rows]
    known = [abs(bound) for _, change in changes if change for bound in change]
    reach = min(max(known, default=0.0), 2.0) or 1.0
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def across(value: float) -> float:
        cut = min(max(value, -reach), reach)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (cut + reach) / (2 * reach)

    end = height - _BOTTOM
    body = [f'<path d="M{across(0):.1f} {_TOP}V{end}" stroke="#900" stroke-dasharray="4"/>']
    for place, (name, change) in enumerate(changes):
        y = _TOP + _ROW * place + _ROW // 2
        body.append(label(_LEFT - 8, y + 4, name, "end"))
        if change is None:
            body.append(label(across(0) + 8, y + 4, "no interval yet"))
            continue
        middle, low, high = map(across, change)
        body += [
            f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="#036" stroke-width="2"/>',
            f'<circle cx="{middle:.1f}" cy="{y}" r="4" fill="#036"/>',
        ]
    for value in (-reach, 0.0, reach):
        body.append(label(across(value), end + 20, f"{value:+.1%}", "middle"))
    return svg(title, height, body)


def label(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_FONT}>{escape(text)}</text>'


def svg(title: str, height: int, body: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" role="img">'
    name = f"<title>{escape(title)}</title>"
    white = f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>'
    heading = f'<text x="10" y="18" font-weight="bold" {_FONT}>{escape(title)}</text>'
    return "\n".join([head, name, white, heading, *body, "</svg>"])
