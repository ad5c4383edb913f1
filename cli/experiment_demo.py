"""`feedmill experiments demo`: what came of the demo's experiment, as a page and a sentence."""

from __future__ import annotations

from pathlib import Path

import click

from feedmill.cli.experiment_record import FOLDER, result_of
from feedmill.experiments.page import page_of
from feedmill.experiments.report import Report, change_text
from feedmill.simulation.audience import PLANTED, PLANTED_ARM


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
    click.echo(
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
