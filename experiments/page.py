"""The report of an experiment as one HTML page, which needs no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from feedmill.experiments.pictures import forest_picture, sequence_picture
from feedmill.experiments.report import ArmReport, Report
from feedmill.experiments.rows import CHECK_COLUMNS, EFFECT_COLUMNS, check_rows, effect_rows

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
        *table_of(CHECK_COLUMNS, check_rows(report.checks)),
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
    rows = [(f"{one.metric}, {one.role}", one) for one in arm.effects]
    rows += [(segment, effect) for segment, effect in arm.segments]
    yield f"<h2>{escape(arm.arm)}: {escape(arm.verdict)}</h2>"
    yield from table_of(EFFECT_COLUMNS, effect_rows(arm))
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
