"""`feedmill replay`: send posts and engagements to Kafka, with the progress on stderr."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import click

from feedmill.cli import flag, option
from feedmill.cli.options import with_environment
from feedmill.cli.output import Answer, answers_as, warn
from feedmill.cli.progress import shown
from feedmill.simulation.replay import Counts, ReplayOptions, ReplaySummary, run_replay
from feedmill.streams.environment import Environment


@click.command()
@click.argument("source", metavar="<file|preset>")
@option("--posts N", "End after so many posts; 0: all.", click.IntRange(min=0))
@option(
    "--rate N", "Posts per second of a preset, records per second of a file; 0: no limit.", float
)
@option(
    "--speed FACTOR",
    "Send so many times as fast; a file then keeps the intervals of its events.",
    float,
)
@option(
    "--reactions N",
    "reddit, bluesky: mean number of likes, replies and shares per post.",
    float,
    5.0,
)
@option(
    "--impressions N",
    "reddit, bluesky: mean number of simulated impressions per post without a reaction.",
    float,
    5.0,
)
@option("--audience N", "demo: simulated engagements per second.", float, 100.0)
@option(
    "--read FEED", "demo: the audience reads this feed, each user their arm.  [a slate of its own]"
)
@option("--seed", "Seed of everything that is random.", int, 0)
@option(
    "--data",
    "reddit, bluesky: the folder of the data sets.  [FEEDMILL_DATA]",
    click.Path(path_type=Path),
    Path("../shared/data"),
    envvar="FEEDMILL_DATA",
    show_default=True,
)
@option(
    "--for SECONDS",
    "End after so long.  [at the end of the source; the demo has none]",
    float,
    0.0,
    name="duration_s",
)
@flag("--loop", "reddit, bluesky: start again at the end, with new post ids.")
@option(
    "--run TAG", "Part of the ids of a preset's posts, which makes them unique.  [from the time]"
)
@flag("--keep-times", "File: keep the times of the events instead of now.")
@flag("--strict", "File: send nothing if one line is bad.")
@answers_as("Print the summary as JSON.")
@with_environment
def replay(*, environment: Environment, **options: Any) -> Answer:
    """Send posts and engagements to Kafka, each stamped with the time at which it is sent.

    The source is a file of JSON lines (plain or gzip; `-` is standard input), each line either
    {"topic": ..., "key": ..., "value": {...}} or just a post or an engagement; or a preset:

    \b
    reddit   posts of 60 subreddits     real texts from the data folder; reactions in proportion
    bluesky  posts of Bluesky           to the real ones; users, times, impressions simulated
    demo     all simulated: communities, authors, posts (some of them spam, NSFW, false or
             clickbait) and an audience; needs no data, and runs until it is stopped

    Exits with 1 if an event could not be sent.
    """  # noqa: D301 - click wants the character \b
    summary = asyncio.run(_replay(environment, ReplayOptions(**options)))
    for problem in summary.complaints:
        warn(problem)
    failure = click.exceptions.Exit(1) if summary.failed else None
    return Answer(summary, [_summary_text(summary)], failure)


async def _replay(environment: Environment, options: ReplayOptions) -> ReplaySummary:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    counts = Counts()
    with shown(
        f"replay {options.source}",
        lambda: _counts_text(counts),
        lambda: (counts.posts, counts.expected_posts),
    ):
        return await run_replay(environment, options, stop=stop, counts=counts)


def _counts_text(counts: Counts) -> str:
    expected = f" of {counts.expected_posts}" if counts.expected_posts else ""
    parts = [f"{counts.posts}{expected} posts", f"{counts.engagements} engagements"]
    if counts.others:
        parts.append(f"{counts.others} others")
    parts.append(f"{counts.sent - counts.acknowledged} in flight")
    if counts.skipped:
        parts.append(f"{counts.skipped} bad lines")
    return ", ".join(parts)


def _summary_text(summary: ReplaySummary) -> str:
    sent = summary.posts + summary.engagements + summary.others
    rate = sent / summary.seconds if summary.seconds else 0.0
    others = f", {summary.others} others" if summary.others else ""
    skipped = f", {summary.skipped} bad lines skipped" if summary.skipped else ""
    return (
        f"sent {summary.posts} posts, {summary.engagements} engagements{others} in "
        f"{summary.seconds:.1f} s ({rate:.0f} per second); acknowledged {summary.acknowledged}, "
        f"failed {summary.failed}{skipped}; run {summary.run}, ended: {summary.ended}"
    )
