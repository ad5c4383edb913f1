"""`feedmill tune`: which weights to try, what an experiment says, and what everybody gets."""

from __future__ import annotations

import json
from pathlib import Path

import click

from feedmill.cli.experiment_file import EXPERIMENT_FILE, bytes_of, read_experiment
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.cli.tune_everybody import after, half
from feedmill.cli.tune_preview import preview
from feedmill.events.errors import UsageError
from feedmill.experiments.checks import decode_record
from feedmill.experiments.looks import keep_look
from feedmill.experiments.report import report_of
from feedmill.experiments.rows import CHECK_COLUMNS, check_rows
from feedmill.experiments.table import read_table
from feedmill.experiments.tune_front import Front, front_of
from feedmill.experiments.tune_page import LIMITS, arm_table, front_page
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import read_environment


@click.group()
def tune() -> None:
    """Find which weights to set, what they cost, and how sure that is."""


@tune.command()
@click.argument("users", type=EXPERIMENT_FILE)
@click.option("--experiment", type=EXPERIMENT_FILE, required=True, help="What was run.")
@click.option("--record", type=EXPERIMENT_FILE, required=True, help="What `join` wrote of it.")
@click.option("--html", type=EXPERIMENT_FILE, help="Write a page with pictures to this file.")
@click.option("--out", type=EXPERIMENT_FILE, help="Write the next experiment to this file.")
@json_option
def front(
    *,
    users: Path,
    experiment: Path,
    record: Path,
    html: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
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
    keep_look(found, users, wanted, known, now_ms())
    if html is not None:
        html.write_text(front_page(found), encoding="utf-8")
    if out is not None and found.following:
        out.write_text(json.dumps(found.following, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found, out)
    if not report.valid:
        click.get_current_context().exit(1)


def _print(found: Front, out: Path | None) -> None:
    if not found.arms:
        print_table(CHECK_COLUMNS, check_rows(found.checks))
        click.echo(f"\n{found.conclusion}")
        return
    print_table(*arm_table(found))
    click.echo(f"\n{found.conclusion}")
    for line in (*LIMITS, *found.everybody):
        click.echo(f"- {line}")
    for command in found.commands:
        click.echo(f"\nthis sets it:\n  {command}")
    if found.following:
        said = " ".join(arm["name"] for arm in found.following["arms"][1:])
        click.echo(f"\nto try next ({out or '--out FILE writes it'}): {said}")


for _command in (preview, half, after):
    tune.add_command(_command)
