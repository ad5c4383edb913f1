"""`feedmill tune`: which weights to try, what an experiment says, and what everybody gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from feedmill.cli import FILE, option
from feedmill.cli.experiments.planning import bytes_of, read_experiment
from feedmill.cli.output import Answer, Table, answers
from feedmill.cli.tune_everybody import after, half
from feedmill.cli.tune_preview import preview
from feedmill.events.errors import UsageError
from feedmill.experiments.checks import decode_record
from feedmill.experiments.report import check_table, keep_look, report_of
from feedmill.experiments.table import read_table
from feedmill.experiments.tune_front import Front, front_of
from feedmill.experiments.tune_page import LIMITS, arm_table, front_page
from feedmill.streams.environment import read_environment
from feedmill.streams.settings.clock import now_ms


@click.group()
def tune() -> None:
    """Find which weights to set, what they cost, and how sure that is."""


@tune.command()
@click.argument("users", type=FILE)
@option("--experiment", "What was run.", FILE, required=True)
@option("--record", "What `join` wrote of it.", FILE, required=True)
@option("--html", "Write a page with pictures to this file.", FILE)
@option("--out", "Write the next experiment to this file.", FILE)
@answers
def front(
    *,
    users: Path,
    experiment: Path,
    record: Path,
    html: Path | None,
    out: Path | None,
) -> Answer:
    """Say which arm of a finished experiment to set, and what each one costs.

    USERS is the table that `experiments join` writes. The checks of `experiments analyse` come
    first; if one fails nothing is said and the exit code is 1. Intervals hold together for all
    arms and objectives, for one look: at the planned size, or once the experiment is stopped.
    """
    wanted = read_experiment(experiment, read_environment().signals).experiment
    known, table = decode_record(bytes_of(record), str(record)), read_table(users, wanted)
    report = report_of(experiment.stem, table, wanted, known)
    try:
        found = front_of(report, table, wanted, known)
    except UsageError as error:
        raise UsageError(f"{experiment}: {error}") from None
    keep_look(found.as_dict(), users, wanted, known, now_ms())
    if html is not None:
        html.write_text(front_page(found), encoding="utf-8")
    if out is not None and found.following:
        out.write_text(json.dumps(found.following, indent=1) + "\n", encoding="utf-8")
    failure = None if report.valid else click.exceptions.Exit(1)
    return Answer(found.as_dict(), _lines(found, out), failure)


def _lines(found: Front, out: Path | None) -> Iterator[str | Table]:
    if not found.arms:
        yield Table(*check_table(found.checks))
        yield f"\n{found.conclusion}"
        return
    yield Table(*arm_table(found))
    yield f"\n{found.conclusion}"
    yield from (f"- {line}" for line in (*LIMITS, *found.everybody))
    for command in found.commands:
        yield f"\nthis sets it:\n  {command}"
    if found.following:
        said = " ".join(arm["name"] for arm in found.following["arms"][1:])
        yield f"\nto try next ({out or '--out FILE writes it'}): {said}"


for _command in (preview, half, after):
    tune.add_command(_command)
