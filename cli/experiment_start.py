"""`feedmill experiments start|stop`: an experiment begins, takes more readers, and ends."""

from __future__ import annotations

from pathlib import Path

import click

from feedmill.cli.change_options import ChangeOptions, note_option, with_setting_change
from feedmill.cli.experiment_file import EXPERIMENT_FILE, read_experiment
from feedmill.cli.experiment_sizes import SizeOptions, check_sizes, size_options
from feedmill.cli.options import by_option
from feedmill.cli.output import time_text
from feedmill.cli.setting_change import change_setting, read_settings_log
from feedmill.events.errors import UsageError
from feedmill.events.experiment import WHOLE, Experiment
from feedmill.operations.experiments.runs import PREFIX, run_of
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import count_partitions


@click.command()
@click.argument("experiment", type=EXPERIMENT_FILE)
@click.option("--name", help="Its name.  [that of the file, without its ending]")
@click.option(
    "--traffic",
    type=click.IntRange(1, WHOLE),
    metavar="N",
    help="How many of 10,000 readers are in it, instead of what EXPERIMENT says.",
)
@size_options
@with_setting_change(by_option, note_option)
def start(
    environment: Environment,
    change: ChangeOptions,
    experiment: Path,
    sizing: SizeOptions,
    name: str | None,
    traffic: int | None,
) -> None:
    """Start EXPERIMENT on the readers of its feeds, or give one that runs more of them.

    It writes the setting `experiments/<name>`, after the checks that every stage makes: the feeds
    exist and have no other experiment, arms differ, gates are at most stricter. Later only traffic
    changes, upwards, and no name is used twice.

    With --before or --assume it sizes EXPERIMENT as `plan` does, and starts none whose planned n
    cannot show the effect or a margin.
    """
    written = read_experiment(experiment, environment.signals, name)
    value = {**written.value, **({} if traffic is None else {"traffic": traffic})}
    log = read_settings_log(environment)
    key = PREFIX + written.name
    running = log.written_value(key)
    if running == value:
        raise UsageError(f"`{written.name}` runs with just that; nothing was sent")
    # Without it frontends could not say who saw what.
    count_partitions(environment, ["exposures"])
    if sizing.are_given:
        check_sizes(sizing.plan(written.experiment))
    if running is None:
        _warn(written.experiment, is_sized=sizing.are_given)
    change_setting(environment, log, key, value, change)


@click.command()
@click.argument("name")
@with_setting_change(by_option, note_option)
def stop(environment: Environment, change: ChangeOptions, name: str) -> None:
    """Stop the experiment NAME: every reader has the feed itself again, at once.

    The lists of its arms leave Redis. What is exported of it stays, and the name stays taken.
    """
    log = read_settings_log(environment)
    run = run_of(log, name)
    if run.stopped is not None:
        raise UsageError(
            f"`{name}` was stopped at {time_text(run.stopped.at_ms)}, offset {run.stopped.offset}"
        )
    value = {**(log.written_value(PREFIX + name) or {}), "stopped": True}
    change_setting(environment, log, PREFIX + name, value, change)


def _warn(experiment: Experiment, *, is_sized: bool) -> None:
    """Say on stderr what a careful reader of the results would miss."""
    if not is_sized:
        click.echo(
            f"warning: nothing says that {experiment.planned_n:,} users an arm can show anything;"
            " give --before or --assume, as to `plan`",
            err=True,
        )
    if not experiment.guardrails:
        click.echo(
            "warning: no guardrail says what an arm may not worsen; consider `guardrails`", err=True
        )
