"""`feedmill reader`: serves pages of feeds for single users, over HTTP."""

from __future__ import annotations

from dataclasses import replace

import click

from feedmill.cli.options import with_environment
from feedmill.events.errors import FeedmillError
from feedmill.readers.reader_process import run_reader
from feedmill.streams.environment import Environment


@click.command()
@click.option("--host", metavar="HOST", help="Where to listen.  [FEEDMILL_HOST]")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="The port; 0 takes any free one.  [FEEDMILL_READER_PORT]",
)
@click.option(
    "--tokens",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Who may ask: lines of a name, the sha256 of a token, and requests a second."
    "  [FEEDMILL_READER_TOKENS]",
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
