"""How commands print: tables on a terminal, aligned plain text without one, JSON when asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table


def on_terminal() -> bool:
    """Whether somebody looks at a terminal rather than a pipe or a file."""
    return sys.stdout.isatty()


def print_json(content: object) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=2 if on_terminal() else None))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print rows under their columns; a column whose name ends in ``>`` stands to the right."""
    if on_terminal():
        Console().print(rich_table(columns, rows, title))
        return
    if title:
        click.echo(title)
    click.echo(plain_table(columns, rows))


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        name, justify = _column(column)
        table.add_column(name, justify="right" if justify else "left", no_wrap=justify)
    for row in rows:
        table.add_row(*row)
    return table


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as text of aligned columns, no line wider than its content."""
    lines = [[_column(column)[0] for column in columns], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    right = [_column(column)[1] for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def time_text(at_ms: int) -> str:
    """A time in UTC to the second; an empty text for a time that is none."""
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def short_json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(", ", ": "))


def _column(column: str) -> tuple[str, bool]:
    return column.removesuffix(">"), column.endswith(">")
