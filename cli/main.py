"""The command line `feedmill`: every command under one group."""

from __future__ import annotations

import os
from typing import Any

import click

from feedmill.cli.config import config
from feedmill.cli.evaluate import evaluate
from feedmill.cli.explain import explain_command as explain
from feedmill.cli.feed import feed_command as feed
from feedmill.cli.local import local
from feedmill.cli.options import Failed
from feedmill.cli.override import override
from feedmill.cli.replay import replay
from feedmill.cli.run import run
from feedmill.cli.topics import topics
from feedmill.cli.train import train
from feedmill.cli.worker import worker
from feedmill.deploy.local import default_folder, status
from feedmill.events.errors import FeedmillError

# These decide for themselves whether the local stack is wanted.
_WITHOUT_STACK = ("local", "run")


class _Reporting(click.Group):
    """A group whose commands fail with one line on stderr and exit 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FeedmillError as error:
            raise Failed(str(error)) from error


@click.group(cls=_Reporting)
@click.version_option(package_name="feedmill")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Rank newsfeeds from Kafka with independent models, into Redis.

    Commands find Kafka and Redis in FEEDMILL_KAFKA and FEEDMILL_REDIS, else in the local
    stack if it is running.
    """
    if ctx.invoked_subcommand not in _WITHOUT_STACK:
        _use_local_stack()


def _use_local_stack() -> None:
    if "FEEDMILL_KAFKA" in os.environ or "FEEDMILL_REDIS" in os.environ:
        return
    found = status(default_folder())
    if found.running:
        os.environ["FEEDMILL_KAFKA"] = found.kafka
        os.environ["FEEDMILL_REDIS"] = found.redis


for command in (
    run,
    worker,
    replay,
    feed,
    explain,
    config,
    override,
    topics,
    local,
    train,
    evaluate,
):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="feedmill")
