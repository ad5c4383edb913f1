"""`feedmill worker <stage>…`: one stage in this process, or several under a supervisor."""

from __future__ import annotations

import asyncio
import logging

import click

from feedmill.cli.options import with_environment
from feedmill.deploy.supervisor import Supervisor, stop_on_signals
from feedmill.events.errors import FeedmillError
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.flow import STAGES
from feedmill.streams.stages.process import run_stage


@click.command()
@click.argument("stages", nargs=-1, required=True, type=click.Choice(list(STAGES)))
@with_environment
def worker(stages: tuple[str, ...], environment: Environment) -> None:
    """Run one stage in this process, or several, each in a process of its own.

    A stage that is named twice has two instances, which share its partitions.
    """
    if len(stages) == 1:
        if run_stage(stages[0], environment):
            raise FeedmillError(f"stage {stages[0]} failed; its log above has the reason")
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_supervise(environment, stages))


async def _supervise(environment: Environment, stages: tuple[str, ...]) -> None:
    supervisor = Supervisor(environment, stages)
    stop_on_signals(supervisor.stopping)
    await supervisor.run()
