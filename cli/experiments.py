"""`feedmill experiments`: how many readers an experiment takes, and what came of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from feedmill.cli.experiment_demo import demo
from feedmill.cli.experiment_file import EXPERIMENT_FILE, bytes_of, read_experiment
from feedmill.cli.experiment_record import export, forget, join
from feedmill.cli.experiment_sizes import SizeOptions, check_sizes, size_options
from feedmill.cli.experiment_start import start, stop
from feedmill.cli.experiment_status import list_command, status
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.experiments.checks import ExperimentRecord, decode_record
from feedmill.experiments.looks import keep_look
from feedmill.experiments.page import page_of
from feedmill.experiments.plan import Plan, Size
from feedmill.experiments.report import Report, report_of
from feedmill.experiments.rows import CHECK_COLUMNS, EFFECT_COLUMNS, check_rows, effect_rows
from feedmill.experiments.table import read_table
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import read_environment

_PLAN_COLUMNS = (
    *("metric", "role", "value>", "to show>", "users an arm>", "planned>", "least shown>"),
)


@click.group()
def experiments() -> None:
    """Plan experiments on readers, and analyse them by statistics that hold at every look.

    EXPERIMENT is a file of JSON with the value of `experiments/<name>`; its name without the ending
    is the experiment's. The first arm is the control. Built-in metrics are take_rate, actions,
    reporters and hiders; `metrics` adds others, or gives these a cap.

    \b
    {"arms": [{"name": "control", "share": 5000},
              {"name": "fresher", "share": 5000, "weights": {"half_life_hours": 6}}],
     "feeds": ["global"], "salt": "s-1", "traffic": 10000, "planned_n": 63000,
     "window_hours": 168, "primary": "take_rate",
     "guardrails": {"reporters": 0.25, "actions": 0.05},
     "metrics": {"likes": {"per": "user", "kinds": ["like"], "cap": 50}}}
    """  # noqa: D301 - click's mark of lines that stay as they are


@experiments.command()
@click.argument("experiment", type=EXPERIMENT_FILE)
@size_options
@click.option(
    "--users-a-day",
    type=click.FloatRange(0, min_open=True),
    help="How many new users a day come into the experiment.",
)
@json_option
def plan(
    *, experiment: Path, sizing: SizeOptions, users_a_day: float | None, as_json: bool
) -> None:
    """Size the primary metric and every guardrail of EXPERIMENT.

    The table before has a row for each user: user, impressions, <metric>, and where they are known
    pre_impressions and pre_<metric>. The value of a metric per impression is a ratio of sums, and
    its deviation that of (sum - value x impressions) / mean impressions.

    Exits with 1 where the planned n cannot show the effect or a margin.
    """
    wanted = read_experiment(experiment, read_environment().signals).experiment
    found = sizing.plan(wanted, users_a_day)
    if as_json:
        print_json(_plan_dict(found))
    else:
        print_table(_PLAN_COLUMNS, [_plan_row(found, size) for size in found.sizes])
        click.echo(f"\n{_time_line(found)}")
    check_sizes(found)


@experiments.command()
@click.argument("table", type=EXPERIMENT_FILE)
@click.option("--experiment", type=EXPERIMENT_FILE, required=True, help="What was run, as above.")
@click.option(
    "--record", type=EXPERIMENT_FILE, help="JSON of its gaps, overlap of top tens and changes."
)
@click.option("--html", type=EXPERIMENT_FILE, help="Write a page with pictures to this file.")
@json_option
def analyse(
    *, table: Path, experiment: Path, record: Path | None, html: Path | None, as_json: bool
) -> None:
    """Analyse TABLE, CSV or Parquet with one row a user.

    What must hold comes first: data, ratios, arms, dose, controls. If one of them fails, no effect
    is shown and the exit code is 1.

    \b
    user                           each once, hashed or not
    arm, computed_arm              as reported first; by the assignment
    first_exposure_ms              empty: never exposed
    complete                       whether the user's window is over
    served, impressions            positions requested, and impressions, in it
    <metric>                       what the metric sums in it
    pre_impressions, pre_<metric>  before the exposure; empty: not seen
    elsewhere_<metric>             in the window, in other feeds
    on_day<n>_impressions, on_day<n>_<metric>
                                   in it, n calendar days after the exposure's
    arm_count                      how many arms the user was shown in it
    client                         which program asked for the first page

    The last five may be left out. An impression is a post that the user was shown, once however
    often. The record, which `join` writes, is {"gaps": [], "overlap": {"<arm>": 0.6},
    "changes": [], "started_ms": 1790000000000, …}: times without data, which part of the control's
    top ten an arm has, what changed meanwhile, and when it was started.

    Each look is added to looks.jsonl in the folder of the export, or without a record in that of
    the table. Another primary metric or planned size than the setting's is refused.
    """  # noqa: D301 - as above
    wanted = read_experiment(experiment, read_environment().signals).experiment
    known = ExperimentRecord() if record is None else decode_record(bytes_of(record), str(record))
    report = report_of(experiment.stem, read_table(table, wanted), wanted, known)
    keep_look(report, table, wanted, known, now_ms())
    if html is not None:
        html.write_text(page_of(report), encoding="utf-8")
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report)
    if not report.valid:
        click.get_current_context().exit(1)


def _print(report: Report) -> None:
    click.echo(
        f"{report.name}: {report.users:,} users, {report.complete:,} with a complete window; they"
        f" came on {report.days} days\n"
    )
    print_table(CHECK_COLUMNS, check_rows(report.checks))
    for arm in report.arms:
        click.echo(f"\n{arm.arm}: {arm.verdict}")
        print_table(EFFECT_COLUMNS, effect_rows(arm))
    click.echo(f"\n{report.conclusion}")
    for line in (*report.limits, *report.changes):
        click.echo(f"- {line}")


def _plan_row(found: Plan, size: Size) -> list[str]:
    enough = "" if size.users <= found.planned_n else "  too few"
    return [
        size.metric,
        size.role,
        f"{size.value:.4g}",
        f"{size.change:.1%}",
        f"{size.users:,.0f}" if size.users < 1e10 else "never",
        f"{found.planned_n:,}{enough}",
        f"{size.least_change:.1%}",
    ]


def _time_line(found: Plan) -> str:
    odds = f"each metric is missed in {found.miss:.1%} of all experiments"
    if found.days is None:
        return f"{odds}; run it for two whole weeks at least, and whole weeks after"
    return f"{odds}; {found.days} days, the windows of the last users included"


def _plan_dict(found: Plan) -> dict[str, Any]:
    return {
        "planned_n": found.planned_n,
        "miss": found.miss,
        "days": found.days,
        "metrics": [
            {
                "metric": size.metric,
                "role": size.role,
                "value": size.value,
                "to_show": size.change,
                "users": math.ceil(size.users) if size.users < 1e10 else None,
                "enough": size.users <= found.planned_n,
                "least_shown": round(size.least_change, 6),
            }
            for size in found.sizes
        ],
    }


for _command in (start, stop, list_command, status, export, join, forget, demo):
    experiments.add_command(_command)
