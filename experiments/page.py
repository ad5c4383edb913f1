"""The report of an experiment as one HTML page, which needs no other file, with its pictures.

Pictures are SVG, written here: the same report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from feedmill.experiments.effects import Effect
from feedmill.experiments.report import (
    ArmReport,
    Report,
    check_table,
    effect_table,
    relative,
)

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .2em .8em; text-align: left; border-bottom: 1px solid #ccc }
.right { text-align: right }
.failed { color: #a00; font-weight: bold }
.conclusion { font-size: 1.15em; border-left: 4px solid #036; padding-left: 1em }
svg { display: block; margin: 1em 0; max-width: 100% }
"""


def page_of(report: Report) -> str:
    """Return the page; the same report gives the same bytes."""
    parts = [
        f'<p class="conclusion">{escape(report.conclusion)}</p>',
        f"<p>{report.users:,} users, {report.complete:,} with a complete window; they came on"
        f" {report.days} days.</p>",
        "<h2>What must hold</h2>",
        *table_of(*check_table(report.checks)),
    ]
    for arm in report.arms:
        parts += _arm(arm)
    if report.valid:
        parts += ["<h2>What is not shown</h2>", *lines_of(report.limits)]
    if report.changes:
        parts += ["<h2>Changed while it ran</h2>", *lines_of(report.changes)]
    return page(f"Experiment {report.name}", parts)


def page(title: str, parts: Sequence[str]) -> str:
    """Return a page of these parts under its title."""
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _arm(arm: ArmReport) -> Iterator[str]:
    rows = [(f"{effect.metric}, {effect.role}", effect) for effect in arm.effects]
    rows += [(segment, effect) for segment, effect in arm.segments]
    yield f"<h2>{escape(arm.arm)}: {escape(arm.verdict)}</h2>"
    yield from table_of(*effect_table(arm))
    yield sequence_picture(arm.effects[0])
    yield forest_picture(f"{arm.arm}: change by metric", rows)


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table; a column whose name ends in `>` is aligned right."""
    sides = [' class="right"' if column.endswith(">") else "" for column in columns]
    yield "<table>"
    names = [column.removesuffix(">") for column in columns]
    yield _line("th", names, sides)
    for row in rows:
        yield _line("td", row, sides, ' class="failed"' if "failed" in row else "")
    yield "</table>"


def _line(tag: str, cells: Sequence[str], sides: Sequence[str], mark: str = "") -> str:
    parts = (
        f"<{tag}{side}>{escape(cell)}</{tag}>" for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr{mark}>{''.join(parts)}</tr>"


def lines_of(lines: Sequence[str]) -> Iterator[str]:
    """Yield a list of sentences."""
    yield "<ul>"
    yield from (f"<li>{escape(line)}</li>" for line in lines)
    yield "</ul>"


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
        values[shown] / scale for values in (effect.lower, effect.estimates, effect.upper)
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
    """Return a text of a picture, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_FONT}>{escape(text)}</text>'


def svg(title: str, height: int, body: Sequence[str]) -> str:
    """Return a picture of this height, with a title for who cannot see it."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" role="img">'
    name = f"<title>{escape(title)}</title>"
    white = f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>'
    heading = f'<text x="10" y="18" font-weight="bold" {_FONT}>{escape(title)}</text>'
    return "\n".join([head, name, white, heading, *body, "</svg>"])
