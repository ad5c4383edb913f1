"""The command line `feedmill`: every command under one group."""

from __future__ import annotations

from typing import Any

import click

from feedmill.deploy.local.cli import local
from feedmill.events.errors import FeedmillError
from feedmill.streams.cli.options import Failed
from feedmill.streams.cli.topics import topics


class _Reporting(click.Group):
    """A group whose commands fail with one line on stderr and exit 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FeedmillError as error:
            raise Failed(str(error)) from error


@click.group(cls=_Reporting)
@click.version_option(package_name="feedmill")
def main() -> None:
    """Rank newsfeeds from Kafka with independent models, into Redis."""


main.add_command(local)
main.add_command(topics)
