"""`feedmill reader`: serves pages of feeds for single users, over HTTP."""

from __future__ import annotations

from dataclasses import replace

import click

from feedmill.cli import PORT, option
from feedmill.cli.options import with_environment
from feedmill.events.errors import FeedmillError
from feedmill.readers.reader_process import run_reader
from feedmill.streams.environment import Environment


@click.command()
@option("--host HOST", "Where to listen.  [FEEDMILL_HOST]")
@option("--port PORT", "The port; 0 takes any free one.  [FEEDMILL_READER_PORT]", PORT)
@option(
    "--tokens FILE",
    "Who may ask, as `feedmill token add --role reader` writes it.  [FEEDMILL_READER_TOKENS]",
    click.Path(exists=True, dir_okay=False),
)
@with_environment
def reader(
    environment: Environment, host: str | None, port: int | None, tokens: str | None
) -> None:
    """Serve pages of the feeds that have a setting readers/<feed>.

    A reader follows the topics as a ranker does, joins no group, and writes only heartbeats: run as
    many as you need.  Without a file of tokens it listens on loopback alone.
    """
    port = environment.reader_port if port is None else port
    environment = replace(
        environment,
        host=host or environment.host,
        reader_tokens=tokens or environment.reader_tokens,
    )
    if run_reader(environment, port):
        raise FeedmillError("the reader failed; its log above has the reason")
