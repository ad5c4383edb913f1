"""`feedmill train engagement --follow`: trains challengers on impressions, and releases them.

A process of its own, as for filters (`train_follow`).  Each round counts the topics of the window
again, by the code that counts them online.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from feedmill.cli.engagement_topics import read_impressions
from feedmill.cli.follow_options import FollowOptions
from feedmill.cli.follow_rounds import (
    Figures,
    champion_of,
    release_if_better,
    repeat,
    store_of_workers,
)
from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.streams.environment import Environment
from feedmill.streams.settings.clock import now_ms
from feedmill.training.continual.challenger import Learner, Starts
from feedmill.training.continual.impression_contest import ImpressionContest, without_floods
from feedmill.training.datasets.snapshots import (
    read_impressions as read_snapshot,
)
from feedmill.training.fitting.engagement import FittedEngagement
from feedmill.training.recipes import ENGAGEMENT
from feedmill.training.trainers.engagement import OwnRun, save_challenger

MIN_REFERENCE = 3_000
_NAME = ENGAGEMENT_RANKER.name
# The topics are counted again in each round, and reactions are known a day later.
_EVERY_MS = 3_600_000


@dataclass(frozen=True)
class EngagementFollowRun:
    """The file of the reference, how long a reaction is waited for, and how to report."""

    reference: Path
    wait_ms: int
    options: FollowOptions
    command: str
    as_json: bool
    keeps_rows: bool = True


def follow_engagement(environment: Environment, run: EngagementFollowRun) -> None:
    """Train and release challengers until the process is ended.

    Raises
    ------
    UsageError
        FEEDMILL_MODELS is not set, or the reference cannot be read or has too few impressions
        that are older than the window.
    """
    store = store_of_workers(environment)
    reference = _older(read_snapshot(run.reference), now_ms() - run.options.window_ms)
    starts = Starts(store, f"{_NAME}.starts", run.options.most_starts)
    learner = Learner(starts, 0)
    every_ms = run.options.every_ms or _EVERY_MS
    click.echo(
        f"{_NAME} follows `posts` and `engagements`: a round each {every_ms / 60_000:g} minutes,"
        f" each with a line here; {len(reference):,} impressions are the reference; Ctrl-C ends it",
        err=True,
    )
    repeat(
        _NAME,
        every_ms,
        lambda: _round(environment, store, run, learner, reference),
        as_json=run.as_json,
    )


def _older(reference: Impressions, before_ms: int) -> Impressions:
    """Return the impressions of a reference that are older than the window."""
    old = reference.where(reference.at_ms < before_ms)
    if len(old) < MIN_REFERENCE:
        raise UsageError(
            f"--follow needs {MIN_REFERENCE:,} impressions that are older than the window, found"
            f" {len(old):,}; name an earlier or a larger snapshot with --ordinary"
        )
    return old


def _round(
    environment: Environment,
    store: Store,
    run: EngagementFollowRun,
    learner: Learner[int],
    reference: Impressions,
) -> Figures:
    """Let a challenger bet on what is new, and release it if it may."""
    champion = ENGAGEMENT_RANKER.load(store, champion_of(environment, _NAME))
    if not isinstance(champion, ExpectedClicks):
        raise UsageError(f"no challenger can be fitted beside a {type(champion).__name__}")
    counted = read_impressions(environment, run.wait_ms, now_ms() - run.options.window_ms)
    found = learner.round(
        partial(ImpressionContest, champion, ENGAGEMENT, reference, run.wait_ms, counted.rows),
        now_ms(),
    )

    def save(fitted: FittedEngagement, e_values: dict[str, float]) -> ModelCard:
        settings = _settings(environment, run)
        own = OwnRun(store, _today(), run.command, settings, run.keeps_rows)
        return save_challenger(without_floods(counted.rows), fitted, e_values, own)

    return release_if_better(environment, found, champion.version, counted.left_out, save)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _settings(environment: Environment, run: EngagementFollowRun) -> dict[str, object]:
    """Return how the impressions were counted, for the card."""
    return {
        "wait_ms": run.wait_ms,
        "window_ms": run.options.window_ms,
        "user_window": environment.user_window,
        "burst_reactions": environment.burst_reactions,
        "examination": [*environment.examination],
    }
