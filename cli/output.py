"""How commands print: tables on a terminal, aligned plain text elsewhere, JSON on request."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def on_terminal() -> bool:
    """Whether standard output is a terminal, not a pipe or a file."""
    return sys.stdout.isatty()


def print_json(content: object) -> None:
    """Print JSON: indented on a terminal, else on one line."""
    click.echo(json.dumps(content, ensure_ascii=False, indent=2 if on_terminal() else None))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns; a column whose name ends in ``>`` is aligned right."""
    if on_terminal():
        Console().print(rich_table(columns, rows))
    else:
        click.echo(plain_table(columns, rows))


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The table for a terminal."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        name, right = _name_and_side(column)
        table.add_column(name, justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as text: columns aligned, no trailing blanks."""
    lines = [[_name_and_side(column)[0] for column in columns], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    right = [_name_and_side(column)[1] for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def time_text(at_ms: int) -> str:
    """Unix milliseconds as a time in UTC to the second; "" for a number that is no time."""
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def on_one_line(text: str, most: int = 300) -> str:
    """Text that others wrote, for a terminal: at most so long, and no sign that steers it."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return shown if len(shown) <= most else f"{shown[:most]}…"


def short_json(content: Any) -> str:
    """JSON for a cell of a table."""
    return json.dumps(content, ensure_ascii=False, separators=(", ", ": "))


def print_local_stack_log() -> None:
    """Print what the local stack logs on stderr: its first start fetches Kafka for a while."""
    logger = logging.getLogger("feedmill.deploy.local")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _name_and_side(column: str) -> tuple[str, bool]:
    return column.removesuffix(">"), column.endswith(">")
