"""The options of `feedmill train --follow`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from feedmill.cli.duration import Duration
from feedmill.cli.options import Command
from feedmill.events.errors import UsageError


@dataclass(frozen=True)
class FollowOptions:
    """How often to train, on labels or impressions of how long, and how many challengers a day.

    `every_ms` is None where nobody said it.
    """

    every_ms: int | None
    window_ms: int
    most_starts: int


@contextmanager
def said_when_interrupted() -> Iterator[None]:
    """End with a sentence at Ctrl-C, which is how `--follow` is meant to end."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("ended: what was released stays, and nothing else was changed", err=True)


def follow_options(command: Command) -> Command:
    """Give a command `--follow` and what belongs to it, as `follow: FollowOptions | None`."""

    @click.option(
        "--follow",
        "is_following",
        is_flag=True,
        help="Train as labels or impressions come; see above.",
    )
    @click.option(
        "--every", "every_ms", type=Duration(), help="Look so often.  [5m; engagement: 1h]"
    )
    @click.option("--window", "window_ms", type=Duration(), help="On what is so old.  [7d]")
    @click.option(
        "--most-starts",
        type=click.IntRange(min=1),
        metavar="N",
        help="So many challengers in 24 hours.  [24]",
    )
    @functools.wraps(command)
    def wrapped(
        *args: object,
        is_following: bool,
        every_ms: int | None,
        window_ms: int | None,
        most_starts: int | None,
        **options: Any,
    ) -> Any:
        follow = None
        if is_following:
            follow = FollowOptions(every_ms, window_ms or 7 * 86_400_000, most_starts or 24)
        elif every_ms or window_ms or most_starts:
            raise UsageError("--every, --window and --most-starts need --follow")
        return command(*args, follow=follow, **options)

    return wrapped
