"""`feedmill worker <stage>…`: one stage in this process, or several under a supervisor."""

from __future__ import annotations

import asyncio
import logging

import click

from feedmill.cli.options import with_environment
from feedmill.deploy.supervisor import Supervisor, stop_on_signals
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.flow import STAGES
from feedmill.streams.stages.process import run_stage
from feedmill.streams.stages.worker_process import run_worker


@click.command()
@click.argument("stages", nargs=-1, required=True, type=click.Choice(list(STAGES)))
@click.option("--fused", is_flag=True, help="Run the stages together in this process, on one loop.")
@with_environment
def worker(stages: tuple[str, ...], fused: bool, environment: Environment) -> None:
    """Run one stage in this process, or several, each in a process of its own.

    A stage that is named twice has two instances, which share its partitions.  With --fused the
    stages are one worker: it reads and decodes each post once, and commits in transactions.
    """
    if fused:
        if len(set(stages)) < len(stages):
            raise UsageError("--fused runs each stage once; start another worker instead")
        if run_worker(stages, environment):
            raise FeedmillError("the worker failed; its log above has the reason")
        return
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
