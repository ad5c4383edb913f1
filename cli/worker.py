"""`feedmill worker [STAGE]…`: a worker in this process, or one per stage under a supervisor."""

from __future__ import annotations

import asyncio
import logging

import click

from feedmill.cli import flag, option
from feedmill.cli.options import with_environment
from feedmill.deploy.supervisor import Supervisor, WorkerSpec, isolated, stop_on_signals
from feedmill.events.errors import FeedmillError
from feedmill.streams.environment import Environment
from feedmill.streams.flow import STAGES, chosen_stages
from feedmill.streams.worker_process import run_worker

without_option = option(
    "--without STAGE",
    "Run all stages but this one; repeatable.",
    click.Choice(STAGES),
    multiple=True,
)
isolate_option = flag("--isolate", "Run each stage in a process and a consumer group of its own.")


@click.command()
@click.argument("stages", nargs=-1, type=click.Choice(STAGES), metavar="[STAGE]...")
@without_option
@isolate_option
@with_environment
def worker(
    stages: tuple[str, ...], without: tuple[str, ...], isolate: bool, environment: Environment
) -> None:
    """Run a worker with these stages, all of them if none is named.

    A worker is one process: it reads and decodes each post once, and commits in transactions.
    Workers of the same stages share the partitions.  With --isolate a supervisor runs a worker
    for each stage, and restarts those that end.
    """
    chosen = chosen_stages(environment.signals, stages, without)
    if isolate:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        asyncio.run(_supervise(environment, isolated(chosen)))
    elif run_worker(chosen, environment):
        raise FeedmillError("the worker failed; its log above has the reason")


async def _supervise(environment: Environment, workers: list[WorkerSpec]) -> None:
    supervisor = Supervisor(environment, workers)
    stop_on_signals(supervisor.stopping)
    await supervisor.run()
