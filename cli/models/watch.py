"""`feedmill models watch`: a process that compares what models do with earlier days."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import click

from feedmill.cli import FILE, option
from feedmill.cli.options import with_environment
from feedmill.streams.environment import Environment


@click.command("watch")
@option("--state FILE", "Keeps what was learned; without it a restart learns for a day anew.", FILE)
@with_environment
def watch(environment: Environment, state: Path | None) -> None:
    """Watch scores, inputs, and what gates cut off, and raise an alarm where they drift.

    Each is compared with earlier days. `models health` shows the alarms, as do the log and the
    metrics. Needs feedmill[watch]; runs until Ctrl-C.
    """
    # river is optional, and takes more than a second.
    from feedmill.streams.watch.model_watch import WatchProcess  # noqa: PLC0415 - see above

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    process = WatchProcess(environment, state)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stopping.set())
    process.run()
