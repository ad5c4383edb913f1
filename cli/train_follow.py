"""`feedmill train <filter> --follow`: trains challengers on labels as they come, and releases them.

A process of its own, until it is ended; it serves nothing and keeps no offsets.  All it leaves are
artifacts in the store, records of `models`, and the file that counts its starts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np
from kafka.errors import KafkaError

from feedmill.cli.follow_options import FollowOptions
from feedmill.cli.model_releases import send_release, tried_release
from feedmill.cli.model_versions import read_history
from feedmill.cli.output import print_json
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.filters.model import FilterModel
from feedmill.filters.spec import FilterSpec
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment
from feedmill.training.continual.challenger import MIN_REFERENCE, OrdinaryPosts, Verdict
from feedmill.training.continual.label_window import LabelWindow
from feedmill.training.continual.learner import Learner, Round
from feedmill.training.continual.starts import Starts
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.label_join import topic_dataset
from feedmill.training.trainers.filters import Challenger, TrainingRun, save_challenger
from feedmill.training.training_data import Dataset, TrainingData, recipe_of

# The trial's limit, and some seconds for the instances.
_ANSWERS_S = 90.0
_BY = "train --follow"
_CARD_METRICS = ("bets", "better", "not_worse", "audited", "worse")


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
    store = environment.models
    if store is None:
        raise UsageError("--follow needs FEEDMILL_MODELS, the store that the workers read, too")
    spec, options = run.spec, run.options
    ordinary = _ordinary_posts(run, now_ms() - options.window_ms)
    starts = Starts(store, f"{spec.name}.starts", options.most_starts)
    learner = Learner(spec.load(run.base), recipe_of(spec), ordinary, starts)
    with _open_window(environment, spec.name, options.window_ms) as window:
        while True:
            due = time.monotonic() + options.every_ms / 1000
            try:
                _round(environment, store, run, learner, window.read())
            except (FeedmillError, KafkaError) as error:
                # The next round may find Kafka again, the artifact, or the model unfrozen.
                _report(run, {"reason": str(error)})
            time.sleep(max(0.0, due - time.monotonic()))


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
    environment: Environment, store: Store, run: FollowRun, learner: Learner, window: LabelWindow
) -> None:
    """Let a challenger bet on what is new, and release it if it may."""
    name, history = run.spec.name, read_history(environment)
    history.check_not_frozen(name)
    release = history.current(name)
    champion = run.spec.load(store, None if release is None else release.sha256)
    judged = window.judged(now_ms())
    found = learner.round(champion, judged, now_ms())
    figures = {**_figures(found), "left_out": window.left_out, "champion": champion.version}
    verdict = found.verdict
    if verdict is None or verdict.fitted is None or found.reason:
        _report(run, {**figures, "reason": found.reason})
        return
    card = _saved(store, run, found, verdict.fitted)
    reason = "released"
    try:
        _release(environment, run, card, verdict, champion)
    except (FeedmillError, KafkaError) as error:
        # It is in the store: `feedmill models release` can still do it.
        reason = f"not released: {error}"
    _report(run, {**figures, "challenger": card.version, "reason": reason})


def _release(
    environment: Environment, run: FollowRun, card: ModelCard, verdict: Verdict, old: FilterModel
) -> None:
    """Release a version unless somebody froze the model meanwhile; what instances say is told."""
    read_history(environment).check_not_frozen(card.name)
    note = f"better than {old.version}: e-value {verdict.better:.0f} of {verdict.bets} bets"
    wanted = tried_release(environment, card, _BY, note)
    send_release(
        environment, card.name, wanted, _ANSWERS_S, lambda line: click.echo(line, err=True)
    )


def _saved(store: Store, run: FollowRun, found: Round, fitted: FittedFilter) -> ModelCard:
    """Save a challenger with its card, without installing it: a rollback goes to what was there."""
    rows = [(row.post, row.label) for row in found.rows]
    data = TrainingData((topic_dataset("labels", rows),), (run.ordinary,))
    day = datetime.now(UTC).date().isoformat()
    training_run = TrainingRun(day, run.command, keeps_rows=run.keeps_rows)
    metrics = {name: value for name, value in _figures(found).items() if name in _CARD_METRICS}
    challenger = Challenger(fitted, metrics)
    return save_challenger(run.spec, run.base, data, challenger, store, training_run)


def _ordinary_posts(run: FollowRun, before_ms: int) -> OrdinaryPosts:
    """Return the ordinary posts that are older than the window, divided."""
    rows = run.ordinary.rows
    is_old = np.array([post.created_at_ms < before_ms for post in rows.posts], dtype=np.bool_)
    ordinary = OrdinaryPosts.of(rows.where(is_old))
    if len(ordinary.reference) < MIN_REFERENCE:
        raise UsageError(
            f"--follow needs {MIN_REFERENCE:,} ordinary posts that are older than the window, two"
            f" thirds of --ordinary, found {len(ordinary.reference):,}; name a larger file"
        )
    return ordinary


def _figures(found: Round) -> dict[str, Any]:
    """Return what a round did, by name."""
    figures: dict[str, Any] = {
        "labels": len(found.rows),
        "raters": found.raters,
        "new": found.fresh,
        "audited": found.audited,
    }
    verdict = found.verdict
    if verdict is not None:
        figures |= {
            "bets": float(verdict.bets),
            "better": verdict.better,
            "not_worse": verdict.not_worse,
            "worse": verdict.worse,
        }
    return figures


def _report(run: FollowRun, figures: dict[str, Any]) -> None:
    """Print what came of a round, as one line."""
    if run.as_json:
        print_json({"model": run.spec.name, "at_ms": now_ms(), **figures})
        return
    at = datetime.now(UTC).strftime("%H:%M:%S")
    shown = ", ".join(f"{name} {_text(value)}" for name, value in figures.items() if value != {})
    click.echo(f"{at} {run.spec.name}: {shown}")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
