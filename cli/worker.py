"""`feedmill worker`: one stage, or several, each in a process of its own."""

from __future__ import annotations

import asyncio
import logging

import click

from feedmill.cli.options import Failed, with_environment
from feedmill.deploy.supervisor import Supervisor, stop_on_signals
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.flow import STAGES
from feedmill.streams.stages.process import run_stage


@click.command()
@click.argument("stages", nargs=-1, required=True, type=click.Choice(list(STAGES)))
@with_environment
def worker(stages: tuple[str, ...], environment: Environment) -> None:
    """Run one or several stages; the same stage twice makes two instances."""
    if len(stages) == 1:
        if run_stage(stages[0], environment):
            raise Failed(f"stage {stages[0]} failed, see its log above")
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_supervise(environment, stages))


async def _supervise(environment: Environment, stages: tuple[str, ...]) -> None:
    supervisor = Supervisor(environment, stages)
    stop_on_signals(supervisor.stopping)
    await supervisor.run()
