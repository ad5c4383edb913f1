"""`feedmill models shadow`: a version scores live posts beside the one in force."""

from __future__ import annotations

import click

from feedmill.cli.model_releases import (
    note_option,
    print_answers,
    send_record,
    teller,
    timeout_option,
    tried_release,
)
from feedmill.cli.model_versions import chosen_card, read_history
from feedmill.cli.options import by_option, with_environment
from feedmill.cli.output import json_option
from feedmill.events.errors import UsageError
from feedmill.events.release import CORE_SHARE, SHADOW, Challenger
from feedmill.streams.releases.challengers import SHADOWED
from feedmill.streams.settings.environment import Environment


@click.command("shadow")
@click.argument("model", type=click.Choice(SHADOWED))
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
@by_option
@note_option
@timeout_option
@json_option
@with_environment
def shadow(
    environment: Environment,
    model: str,
    version: str | None,
    stop: bool,
    core_share: float,
    by: str | None,
    note: str,
    timeout_s: float,
    as_json: bool,
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
        running = history.challenger(model).challenger
        if running is None:
            raise UsageError(f"no version of `{model}` scores in shadow")
        done = f"{model}: {running.version} stopped"
    else:
        tried = tried_release(environment, chosen_card(environment, model, version), by, note)
        challenger = Challenger(tried.sha256, tried.answers, tried.by, note, core_share)
        done = f"{model}: {challenger.version} scores in shadow"
    tell = teller(as_json)
    found = send_record(environment, SHADOW + model, model, challenger, done, timeout_s, tell)
    print_answers(model, challenger, *found, timeout_s, as_json=as_json)
