"""Reading posts and signals into a command: its progress, its time limit, what it took."""

from __future__ import annotations

import click

from feedmill.cli.duration import Duration
from feedmill.cli.progress import long_work
from feedmill.operations.preview.view_by_log import read_view
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import Environment
from feedmill.streams.worker.heap import resident_mib

timeout_option = click.option(
    "--timeout",
    "patience_ms",
    type=Duration(),
    default=60_000,
    help="Give up once Kafka has sent nothing for so long.  [60s]",
)


def read_for_command(
    environment: Environment, view: PostView, patience_s: float, *, since_ms: int | None = None
) -> None:
    """Fill a view with progress on stderr, and say there how much memory it took.

    Raises what `read_view` raises.
    """
    with long_work("reading", "nothing was changed") as work:
        read = read_view(environment, view, work.tell, since_ms=since_ms, patience_s=patience_s)
        took = f"in {work.seconds:.0f} s"
    refused = f", {read.refused:,} of them bad" if read.refused else ""
    memory = resident_mib()
    in_memory = "" if memory is None else f"; this process has {memory:,} MiB"
    posts = len(view.live_rows())
    click.echo(
        f"read {posts:,} posts: {read.records:,} records{refused} {took}{in_memory}", err=True
    )
