"""`feedmill experiments analyse|demo`: what came of an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from feedmill.cli import FILE, FOLDER, option
from feedmill.cli.experiments.exports import result_of
from feedmill.cli.experiments.planning import bytes_of, read_experiment
from feedmill.cli.output import Answer, Table, answers, say
from feedmill.experiments.checks import ExperimentRecord, decode_record
from feedmill.experiments.page import page_of
from feedmill.experiments.report import (
    Report,
    change_text,
    check_table,
    effect_table,
    keep_look,
    report_of,
)
from feedmill.experiments.table import read_table
from feedmill.simulation.audience import PLANTED, PLANTED_ARM
from feedmill.streams.environment import read_environment
from feedmill.streams.settings.clock import now_ms


@click.command()
@click.argument("table", type=FILE)
@option("--experiment", "What was run, as above.", FILE, required=True)
@option("--record", "JSON of its gaps, overlap of top tens and changes.", FILE)
@option("--html", "Write a page with pictures to this file.", FILE)
@answers
def analyse(*, table: Path, experiment: Path, record: Path | None, html: Path | None) -> Answer:
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
    """  # noqa: D301 - click's mark of lines that stay as they are
    wanted = read_experiment(experiment, read_environment().signals).experiment
    known = ExperimentRecord() if record is None else decode_record(bytes_of(record), str(record))
    report = report_of(experiment.stem, read_table(table, wanted), wanted, known)
    keep_look(report.as_dict(), table, wanted, known, now_ms())
    if html is not None:
        html.write_text(page_of(report), encoding="utf-8")
    failure = None if report.valid else click.exceptions.Exit(1)
    return Answer(report.as_dict(), _lines(report), failure)


def _lines(report: Report) -> Iterator[str | Table]:
    yield (
        f"{report.name}: {report.users:,} users, {report.complete:,} with a complete window; they"
        f" came on {report.days} days\n"
    )
    yield Table(*check_table(report.checks))
    for arm in report.arms:
        yield f"\n{arm.arm}: {arm.verdict}"
        yield Table(*effect_table(arm))
    yield f"\n{report.conclusion}"
    yield from (f"- {line}" for line in (*report.limits, *report.changes))


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("name")
def demo(folder: Path, name: str) -> None:
    """Show what came of NAME, the experiment that `run --demo --experiment` ran.

    DIR is its export. It joins that to one row a user, analyses the table, and writes the page;
    both files stand beside DIR. The readers are simulated, and the effect is planted: readers of
    the arm `by-quality` look at twice as many posts.
    """
    page = folder.with_name(f"{name}.html")
    report = result_of(folder, name, page.with_suffix(".parquet"))
    page.write_text(page_of(report), encoding="utf-8")
    say(
        f"{_sentence(report)} (The effect is planted: simulated readers of {PLANTED_ARM} look at"
        f" {PLANTED} times as many posts.) Open {page} in a browser."
    )


def _sentence(report: Report) -> str:
    if not report.arms:
        return f"{report.conclusion} Let it run longer, with `FOR=150` at least."
    arm, effect = report.arms[0].arm, report.arms[0].effects[0]
    said = "No arm is shown to be better yet"
    if effect.better or effect.worse:
        better, other = (arm, "control") if effect.better else ("control", arm)
        said = f"{better} is better than {other} for its readers"
    return f"{said}: {arm} changes {effect.metric} by {change_text(effect)}."
