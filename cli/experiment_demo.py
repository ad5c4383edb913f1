"""`feedmill experiments demo`: what came of the demo's experiment, as a page and a sentence."""

from __future__ import annotations

from pathlib import Path

import click

from feedmill.cli.experiment_file import bytes_of, read_experiment
from feedmill.cli.experiment_record import FOLDER, join
from feedmill.experiments.checks import decode_record
from feedmill.experiments.page import page_of
from feedmill.experiments.report import Report, change_text, report_of
from feedmill.experiments.table import read_table
from feedmill.simulation.audience import PLANTED, PLANTED_ARM
from feedmill.streams.settings.environment import read_environment


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("name")
def demo(folder: Path, name: str) -> None:
    """Show what came of NAME, the experiment that `run --demo --experiment` ran.

    DIR is its export. It joins that to one row a user, analyses the table, and writes the page; all
    files stand beside DIR. The readers are simulated, and the effect is planted: those of the arm
    `by-quality` look at twice as many posts.
    """
    setting, table, record, page = (
        folder.with_name(f"{name}{ending}")
        for ending in (".json", ".parquet", ".record.json", ".html")
    )
    click.get_current_context().invoke(
        join, folder=folder, name=name, out=table, record=record, experiment=setting, as_json=False
    )
    wanted = read_experiment(setting, read_environment().signals).experiment
    known = decode_record(bytes_of(record), str(record))
    report = report_of(name, read_table(table, wanted), wanted, known)
    page.write_text(page_of(report), encoding="utf-8")
    click.echo(
        f"{_result(report, wanted.control.name)} (The effect is planted: simulated readers of"
        f" {PLANTED_ARM} look at {PLANTED} times as many posts.) Open {page} in a browser."
    )


def _result(report: Report, control: str) -> str:
    if not report.arms:
        return f"{report.conclusion} Let it run longer, with `FOR=150` at least."
    arm = report.arms[0]
    effect, change = arm.effects[0], change_text(arm.effects[0])
    better, other = (arm.arm, control) if effect.better else (control, arm.arm)
    said = f"{better} is better than {other} for its readers"
    if not (effect.better or effect.worse):
        said = "No arm is shown to be better yet"
    return f"{said}: {arm.arm} changes {effect.metric} by {change}."
