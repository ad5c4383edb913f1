"""`feedmill models shadow`: a version scores live posts beside the one in force."""

from __future__ import annotations

import click

from feedmill.cli.change_options import ChangeOptions, with_noted_change
from feedmill.cli.model_releases import send_tried, tried_release
from feedmill.cli.model_versions import chosen_card, read_history
from feedmill.events.errors import UsageError
from feedmill.events.release import CORE_SHARE, SHADOW, Challenger
from feedmill.streams.environment import Environment
from feedmill.streams.releases.loading import BY_TEXT


@click.command("shadow")
@click.argument("model", type=click.Choice(BY_TEXT))
@click.argument("version", required=False)
@click.option("--stop", is_flag=True, help="End it: no version scores in shadow.")
@click.option(
    "--core-share",
    type=click.FloatRange(min=0, min_open=True, max=1),
    default=CORE_SHARE,
    show_default=True,
    metavar="SHARE",
    help="How much of one core it may take of each worker.",
)
@with_noted_change
def shadow(
    environment: Environment,
    change: ChangeOptions,
    model: str,
    version: str | None,
    stop: bool,
    core_share: float,
) -> None:
    """Have every worker score live posts with a VERSION too, which decides nothing.

    What it says goes to the topic `shadow`, for `feedmill models compare`. A model has one
    challenger at most. Each worker needs the artifact in its own store.
    """
    if stop == (version is not None):
        raise click.UsageError("give either a VERSION or --stop")
    history = read_history(environment)
    challenger = None
    if version is None:
        running = history.challenger(model).release
        if running is None:
            raise UsageError(f"no version of `{model}` scores in shadow")
        done = f"{model}: {running.version} stopped"
    else:
        card = chosen_card(environment, model, version)
        tried = tried_release(environment, card, change.by, change.note)
        challenger = Challenger(tried.sha256, tried.answers, tried.by, tried.note, core_share)
        done = f"{model}: {challenger.version} scores in shadow"
    send_tried(environment, change, SHADOW + model, model, challenger, done)
