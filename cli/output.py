"""How commands print, and only they do: tables on a terminal, plain text elsewhere, or JSON.

A command under `answers` returns what it found as an `Answer`; `show` makes one of a table.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import click
import msgspec
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable

from feedmill.cli import Command, Option
from feedmill.operations.times import duration_text, time_text

# By title what a cell shows of a row: a function of the row, or a field of a record or a dict, as
# `field` or `field:format`; besides Python's formats there are `time` and `span` of milliseconds.
Columns = Mapping[str, "str | Callable[[Any], object]"]


class Table(NamedTuple):
    """Titles and cells; a column whose title ends in ``>`` is aligned right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes
    ----------
    content
        What `--json` prints: records, or what is JSON by itself.
    lines
        What people read; an iterator is asked only where people read.
    failure
        Raised after either was printed.
    """

    content: object
    lines: Iterable[str | Table | RenderableType] = ()
    failure: Exception | None = None


def answers_as(json_help: str) -> Option:
    """Give a command `--json` with this help, and print the `Answer` that it returns, if any."""

    def decorate(command: Command) -> Command:
        @click.option("--json", "as_json", is_flag=True, help=json_help)
        @functools.wraps(command)
        def wrapped(*args: object, as_json: bool, **options: Any) -> None:
            answer = command(*args, **options)
            if answer is not None:
                print_answer(answer, as_json=as_json)

        return wrapped

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
answers = answers_as("Print JSON.")


def print_answer(answer: Answer, *, as_json: bool) -> None:
    """Print what a command found, then raise its failure."""
    if as_json:
        print_json(msgspec.to_builtins(answer.content, enc_hook=_plain))
    else:
        for line in answer.lines:
            if isinstance(line, Table):
                print_table(*line)
            elif isinstance(line, str):
                say(line)
            else:
                Console().print(line)
    if answer.failure is not None:
        raise answer.failure


def _plain(value: Any) -> object:
    """Return a number of numpy as one of Python's."""
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"no JSON of a {type(value).__name__}")


def show(
    rows: Sequence[object],
    columns: Columns,
    *,
    before: Iterable[str] = (),
    after: Iterable[str] = (),
    empty: str = "",
) -> Answer:
    """Return rows as an answer: a table with lines around it, or `empty` where there are none."""
    if empty and not rows:
        return Answer(rows, [empty])
    return Answer(rows, (*before, table_of(rows, columns), *after))


def table_of(rows: Iterable[object], columns: Columns) -> Table:
    """Return the table of rows."""
    return Table([*columns], [[_cell(row, of) for of in columns.values()] for row in rows])


def _cell(row: object, column: str | Callable[[Any], object]) -> str:
    value: Any
    if isinstance(column, str):
        name, _, style = column.partition(":")
        value = row[name] if isinstance(row, dict) else getattr(row, name)
    else:
        value, style = column(row), ""
    if value is None:
        return "-" if style else ""
    if style == "time":
        return time_text(value)
    if style == "span":
        return duration_text(value)
    return ", ".join(value) if isinstance(value, tuple | list) else format(value, style)


def say(text: str | bytes) -> None:
    """Print a line."""
    click.echo(text)


def warn(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


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


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RichTable:
    """The table for a terminal."""
    table = RichTable(box=None, pad_edge=False)
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


def number_text(value: float | None, digits: int) -> str:
    """A number with so many digits after the point; "-" for None."""
    return "-" if value is None else f"{value:.{digits}f}"


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
