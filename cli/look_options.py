"""Options of `feedmill train` and `evaluate` that ask for a look at test rows, and log it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from feedmill.cli.options import Command
from feedmill.models.artifact import ModelCard
from feedmill.training.evaluation.looks import Look, log_look

LOOKS = Path("looks.jsonl")


def look_options(command: Command) -> Command:
    """Give a command `--look` and `--looks`, as `look: str | None` and `looks: Path | None`."""
    with_log = click.option(
        "--looks",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The log of looks.  [looks.jsonl]",
    )(command)
    return click.option(
        "--look", metavar="WHY", help="Measure on the test rows, and log why.  [not]"
    )(with_log)


def report_look(
    why: str, path: Path, cards: Iterable[ModelCard], sources: Sequence[tuple[str, int]]
) -> None:
    """Log a look at so many test rows of each source, and say which one it is."""
    models = [f"{card.name}@{card.version}" for card in cards]
    day = datetime.now(UTC).date().isoformat()
    number = log_look(path, Look(day, why, models, dict(sources)))
    click.echo(f"look {number} at the test rows, logged in {path}", err=True)
