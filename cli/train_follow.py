"""`feedmill train <filter> --follow`: trains challengers on labels as they come, and releases them.

A process of its own, until it is ended; it serves nothing and keeps no offsets.  All it leaves are
artifacts in the store, records of `models`, and the file that counts its starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import click
import numpy as np

from feedmill.cli.follow_options import FollowOptions
from feedmill.cli.follow_rounds import (
    Figures,
    champion_of,
    release_if_better,
    repeat,
    store_of_workers,
)
from feedmill.events.errors import UsageError
from feedmill.filters.model import FilterSpec
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic
from feedmill.streams.settings.clock import now_ms
from feedmill.training.continual.challenger import Learner, Starts
from feedmill.training.continual.label_contest import MIN_REFERENCE, LabelContest, OrdinaryPosts
from feedmill.training.continual.rated_posts import RatedPost, audited_posts, rated_posts
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.label_join import LabelWindow, topic_dataset
from feedmill.training.trainers.filters import FittedChallenger, TrainingRun, save_challenger
from feedmill.training.training_data import Dataset, TrainingData, recipe_of

_EVERY_MS = 300_000


@dataclass(frozen=True)
class FollowRun:
    """What to follow, from which model on, with which ordinary posts, and how to report."""

    spec: FilterSpec
    base: Store | None
    ordinary: Dataset
    options: FollowOptions
    command: str
    as_json: bool
    keeps_rows: bool = True


def follow(environment: Environment, run: FollowRun) -> None:
    """Train and release challengers until the process is ended.

    Raises
    ------
    UsageError
        FEEDMILL_MODELS is not set, or there are too few ordinary posts older than the window.
    """
    store = store_of_workers(environment)
    spec, options = run.spec, run.options
    ordinary = _ordinary_posts(run, now_ms() - options.window_ms)
    starts = Starts(store, f"{spec.name}.starts", options.most_starts)
    learner = Learner(starts, frozenset[str]())
    contest = partial(
        LabelContest, base=spec.load(run.base), recipe=recipe_of(spec), ordinary=ordinary
    )
    every_ms = options.every_ms or _EVERY_MS
    click.echo(
        f"{spec.name} follows `labels`: a round each {every_ms / 60_000:g} minutes, each with a"
        f" line here; {len(ordinary.reference):,} ordinary posts are the reference; Ctrl-C ends it",
        err=True,
    )
    with _open_window(environment, spec.name, options.window_ms) as window:
        repeat(
            spec.name,
            every_ms,
            lambda: _round(environment, store, run, learner, contest, window.read()),
            as_json=run.as_json,
        )


class _Window:
    """The two topics, read on from where the last round ended."""

    def __init__(self, window: LabelWindow, labels: TopicReader, posts: TopicReader) -> None:
        self._window, self._labels, self._posts = window, labels, posts

    def read(self) -> LabelWindow:
        """Read to the ends, labels first: the post of a label is there before it."""
        for record in self._labels.read_to_end():
            self._window.add_label(record.key, record.value, record.at_ms)
        for record in self._posts.read_to_end():
            self._window.add_post(record.key, record.value, record.at_ms)
        return self._window


@contextmanager
def _open_window(environment: Environment, name: str, window_ms: int) -> Iterator[_Window]:
    with ExitStack() as stack:
        labels = stack.enter_context(open_topic(environment, "labels"))
        posts = stack.enter_context(open_topic(environment, "posts"))
        for reader in (labels, posts):
            reader.seek_to_time(now_ms() - window_ms)
        yield _Window(LabelWindow(name, window_ms), labels, posts)


def _round(
    environment: Environment,
    store: Store,
    run: FollowRun,
    learner: Learner[frozenset[str]],
    contest: Callable[..., LabelContest],
    window: LabelWindow,
) -> Figures:
    """Let a challenger bet on what is new, and release it if it may."""
    champion = run.spec.load(store, champion_of(environment, run.spec.name))
    judged = window.judged(now_ms())
    rows, audit = rated_posts(judged), audited_posts(judged)
    found = learner.round(
        lambda bet_on: contest(champion=champion, rows=rows, audit=audit, was_bet_on=bet_on),
        now_ms(),
    )

    def save(fitted: FittedFilter, e_values: dict[str, float]) -> ModelCard:
        metrics = {"audited": float(len(audit)), **e_values}
        return _saved(store, run, rows, FittedChallenger(fitted, metrics))

    return release_if_better(environment, found, champion.version, window.left_out, save)


def _saved(
    store: Store, run: FollowRun, rows: Sequence[RatedPost], challenger: FittedChallenger
) -> ModelCard:
    """Save a challenger with its card, without installing it: a rollback goes to what was there."""
    labelled = [(row.post, row.label) for row in rows]
    data = TrainingData((topic_dataset("labels", labelled),), (run.ordinary,))
    day = datetime.now(UTC).date().isoformat()
    training_run = TrainingRun(day, run.command, keeps_rows=run.keeps_rows)
    return save_challenger(run.spec, run.base, data, challenger, store, training_run)


def _ordinary_posts(run: FollowRun, before_ms: int) -> OrdinaryPosts:
    """Return the ordinary posts that are older than the window, divided."""
    rows = run.ordinary.rows
    if not any(post.created_at_ms for post in rows.posts):
        click.echo(
            "--ordinary says no times, so all its posts count as older than the window: name their"
            " column with time=COLUMN, unless they are",
            err=True,
        )
    is_old = np.array([post.created_at_ms < before_ms for post in rows.posts], dtype=np.bool_)
    ordinary = OrdinaryPosts.of(rows.where(is_old))
    if len(ordinary.reference) < MIN_REFERENCE:
        raise UsageError(
            f"--follow needs {MIN_REFERENCE:,} ordinary posts that are older than the window, two"
            f" thirds of --ordinary, found {len(ordinary.reference):,}; name a larger file"
        )
    return ordinary
