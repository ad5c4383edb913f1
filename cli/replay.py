"""`feedmill replay`: the command, its progress and its summary."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from feedmill.cli.options import with_environment
from feedmill.simulation.replay import Counts, ReplayOptions, ReplaySummary, run_replay
from feedmill.streams.settings.environment import Environment

_PLAIN_EVERY_S = 5.0


@click.command()
@click.argument("source", metavar="<file|preset>")
@click.option("--posts", type=click.IntRange(min=0), help="End after so many posts; 0: all.")
@click.option(
    "--rate", type=float, help="Posts a second (records a second of a file); 0: no limit."
)
@click.option("--speed", type=float, help="So many times as fast; of a file, by its own times.")
@click.option(
    "--reactions",
    type=float,
    default=5.0,
    show_default=True,
    help="reddit, bluesky: mean likes, replies and shares a post.",
)
@click.option(
    "--impressions",
    type=float,
    default=5.0,
    show_default=True,
    help="reddit, bluesky: mean simulated impressions a post without a reaction.",
)
@click.option(
    "--audience",
    type=float,
    default=100.0,
    show_default=True,
    help="demo: simulated engagements a second.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything drawn.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="FEEDMILL_DATA",
    default=Path("../shared/data"),
    show_default=True,
    help="The folder of the data sets; FEEDMILL_DATA.",
)
@click.option(
    "--for",
    "for_s",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="End after so long; 0: at the end of the source, the demo never.",
)
@click.option("--loop", is_flag=True, help="reddit, bluesky: begin again at the end, with new ids.")
@click.option("--run", metavar="TAG", help="Makes the ids of a preset's posts unique.  [the time]")
@click.option("--keep-times", is_flag=True, help="Of a file: do not set its events' times to now.")
@click.option("--strict", is_flag=True, help="Of a file: one bad line and nothing is sent.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON, on standard output.")
@with_environment
def replay(*, environment: Environment, as_json: bool, **given: Any) -> None:
    """Send posts and engagements to Kafka, each with the moment it is sent as its time.

    The source is a file of JSON lines (gzip or not; - is standard input), each line
    {"topic": ..., "key": ..., "value": {...}} or a bare post or engagement; or a preset:

    \b
    reddit   posts of 60 subreddits    real texts of the data folder; reactions in proportion
    bluesky  posts of Bluesky          to the known ones; who, when and impressions simulated
    demo     everything simulated: communities, authors, posts (some of them spam, NSFW, false
             or clickbait) and an audience; needs no data, and runs until it is stopped

    Ends with exit 0, or 1 if an event could not be sent.
    """  # noqa: D301 - click wants the character \b
    summary = asyncio.run(_replay(environment, ReplayOptions(**given)))
    for complaint in summary.complaints:
        click.echo(complaint, err=True)
    click.echo(json.dumps(asdict(summary)) if as_json else _told(summary))
    if summary.failed:
        sys.exit(1)


async def _replay(environment: Environment, options: ReplayOptions) -> ReplaySummary:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    counts = Counts()
    shown = asyncio.create_task(_show(counts, options))
    try:
        return await run_replay(environment, options, stop=stop, counts=counts)
    finally:
        shown.cancel()
        await asyncio.gather(shown, return_exceptions=True)


async def _show(counts: Counts, options: ReplayOptions) -> None:
    """Draw the progress on standard error, until cancelled."""
    console = Console(stderr=True)
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_PLAIN_EVERY_S)
            click.echo(f"replay {options.source}: {_live(counts)}", err=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[live]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task(f"replay {options.source}", total=None, live="")
        while True:
            progress.update(
                task, completed=counts.posts, total=counts.expected_posts, live=_live(counts)
            )
            progress.refresh()
            await asyncio.sleep(0.25)


def _live(counts: Counts) -> str:
    parts = [f"{counts.posts} posts", f"{counts.engagements} engagements"]
    if counts.others:
        parts.append(f"{counts.others} others")
    parts.append(f"{counts.sent - counts.acknowledged} under way")
    if counts.skipped:
        parts.append(f"{counts.skipped} bad lines")
    return ", ".join(parts)


def _told(summary: ReplaySummary) -> str:
    sent = summary.posts + summary.engagements + summary.others
    rate = sent / summary.seconds if summary.seconds else 0.0
    others = f", {summary.others} others" if summary.others else ""
    skipped = f", {summary.skipped} bad lines skipped" if summary.skipped else ""
    return (
        f"sent {summary.posts} posts, {summary.engagements} engagements{others} in "
        f"{summary.seconds:.1f} s ({rate:.0f} a second); acknowledged {summary.acknowledged}, "
        f"failed {summary.failed}{skipped}; run {summary.run}, ended: {summary.ended}"
    )
