"""`feedmill train` of a ranker: on the data sets of a folder, or on the product's topics."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from feedmill.cli.data_options import data_folder
from feedmill.cli.duration import Duration
from feedmill.cli.options import Command
from feedmill.cli.train_summary import clicks_figures, learned_by_both, ratings_figures
from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.training.progress import Tell, silent

_ENGAGEMENT = ENGAGEMENT_RANKER.name


@dataclass(frozen=True)
class TopicOptions:
    """Whether to learn from the topics, and how long a reaction is waited for; None: a day."""

    are_read: bool
    wait_ms: int | None

    def check_for_filter(self) -> None:
        """Raise `UsageError` where one is given."""
        if self.are_read or self.wait_ms is not None:
            raise UsageError("--from-topics is for rankers; a filter learns by --from-labels")


@dataclass(frozen=True)
class RankerRun:
    """What a ranker learns from, where it is stored, and the day that its card states.

    With `keeps_rows` the rows are kept in the store, too.  `tell` is told what is done now.
    """

    model: str
    data: tuple[str, ...]
    topics: TopicOptions
    since_ms: int
    store: Store
    day: str
    keeps_rows: bool = True
    tell: Tell = silent


@dataclass(frozen=True)
class TrainedRanker:
    """The card of a ranker that was stored, and what says how good it is."""

    card: ModelCard
    figures: Callable[[], str]


def topic_options(command: Command) -> Command:
    """Give a command `--from-topics` and `--wait`, as `topics: TopicOptions`."""

    @click.option(
        "--from-topics",
        "are_read",
        is_flag=True,
        help="Learn from posts and engagements, or from labels of quality.",
    )
    @click.option(
        "--wait",
        "wait_ms",
        type=Duration(),
        help="A click comes so long after an impression. [24h]",
    )
    @functools.wraps(command)
    def wrapped(*args: object, are_read: bool, wait_ms: int | None, **options: Any) -> Any:
        return command(*args, topics=TopicOptions(are_read, wait_ms), **options)

    return wrapped


def train_ranker(environment: Environment, run: RankerRun) -> TrainedRanker:
    """Train a ranker and save it; measured beside the shipped one once that is asked for.

    Raises
    ------
    UsageError
        Options do not go together, or there is too little to learn from.
    """
    is_engagement = run.model == _ENGAGEMENT
    if run.topics.wait_ms is not None and not (run.topics.are_read and is_engagement):
        raise UsageError(f"--wait goes with `train {_ENGAGEMENT} --from-topics`")
    if run.since_ms and not run.topics.are_read:
        raise UsageError("--since needs --from-topics")
    folders = [path for path in run.data if Path(path).is_dir()]
    files = [path for path in run.data if path not in folders]
    if run.topics.are_read:
        if files or len(folders) > (0 if is_engagement else 1):
            raise UsageError(_TOGETHER[is_engagement])
        if is_engagement:
            return _on_impressions(environment, run)
        return _on_labels(environment, run, Path(folders[0]) if folders else None)
    if is_engagement and len(files) == 1 and not folders and files[0].endswith(".parquet"):
        return _on_snapshot(run, Path(files[0]))
    return _on_data_sets(run, folders, files)


_TOGETHER = {
    True: "--from-topics takes no --data: engagement learns from the topics alone then",
    False: "--from-topics goes with one --data FOLDER, or with none",
}


def _on_data_sets(run: RankerRun, folders: Sequence[str], files: Sequence[str]) -> TrainedRanker:
    from feedmill.training.trainers.registry import TRAINERS  # noqa: PLC0415 scikit-learn

    if len(folders) > 1 or (files and run.model == _ENGAGEMENT) or len(files) > 1:
        own = "" if run.model == _ENGAGEMENT else " and --data FILE with ratings of your own"
        raise UsageError(
            f"{run.model} learns from the data sets of one folder: --data FOLDER{own};"
            " or from --from-topics"
        )
    folder = Path(folders[0]) if folders else data_folder()
    run.tell("reading, fitting, measuring and storing")
    card = TRAINERS[run.model](folder, run.store, run.day, files, run.keeps_rows)
    return TrainedRanker(card, partial(learned_by_both, card))


def _on_impressions(environment: Environment, run: RankerRun) -> TrainedRanker:
    from feedmill.cli.engagement_topics import read_impressions, waited_less  # noqa: PLC0415 scikit-learn
    from feedmill.training.datasets.impression_arms import check_enough  # noqa: PLC0415 as above
    from feedmill.training.trainers.engagement import OwnRun, train_on_impressions  # noqa: PLC0415 as above

    wait_ms = run.topics.wait_ms or DAY_MS
    counted = read_impressions(environment, wait_ms, run.since_ms, run.tell)
    _report(counted.left_out)
    _report_features(counted.compared, counted.differing)
    with waited_less(counted, wait_ms):
        check_enough(counted.rows)
    run.tell("fitting, measuring and storing")
    settings: dict[str, object] = {
        "wait_ms": wait_ms,
        "user_window": environment.user_window,
        "burst_reactions": environment.burst_reactions,
        "examination": [*environment.examination],
        "features_compared": counted.compared,
        "features_differing": len(counted.differing),
    }
    rows = counted.rows
    own = OwnRun(run.store, run.day, _command(run), settings, run.keeps_rows)
    card = train_on_impressions(rows, own)
    return TrainedRanker(card, partial(clicks_figures, card, rows))


def _on_snapshot(run: RankerRun, snapshot: Path) -> TrainedRanker:
    from feedmill.training.datasets.snapshots import read_impressions  # noqa: PLC0415 scikit-learn
    from feedmill.training.trainers.engagement import OwnRun, train_on_impressions  # noqa: PLC0415 as above

    rows = read_impressions(snapshot)
    own = OwnRun(run.store, run.day, _command(run), {}, run.keeps_rows)
    card = train_on_impressions(rows, own)
    return TrainedRanker(card, partial(clicks_figures, card, rows))


def _on_labels(environment: Environment, run: RankerRun, folder: Path | None) -> TrainedRanker:
    from feedmill.cli.label_topics import read_ratings  # noqa: PLC0415 scikit-learn
    from feedmill.training.trainers.quality import train_on_labels  # noqa: PLC0415 as above

    labels, left_out = read_ratings(environment, run.since_ms, run.tell)
    _report(left_out)
    run.tell("fitting, measuring and storing")
    card = train_on_labels(labels, folder, run.store, run.day, _command(run), run.keeps_rows)
    return TrainedRanker(card, partial(ratings_figures, card, labels.rows))


def _command(run: RankerRun) -> str:
    """The command for the card, with the files' names but not their folders."""
    words = ["feedmill", "train", run.model]
    for path in run.data:
        words += ["--data", "DATA" if Path(path).is_dir() else Path(path).name]
    if run.topics.are_read:
        words.append("--from-topics")
    return shlex.join(words)


def _report_features(compared: int, differing: list[str]) -> None:
    click.echo(f"features: {compared:,} logged values counted again", err=True)
    if differing:
        click.echo(
            f"features: {len(differing):,} of them differ, of the posts {', '.join(differing[:3])},"
            " …: give this command the FEEDMILL_USER_WINDOW, FEEDMILL_BURST_REACTIONS and"
            " FEEDMILL_EXAMINATION of the workers",
            err=True,
        )


def _report(left_out: dict[str, int]) -> None:
    for what, count in left_out.items():
        click.echo(f"left out: {count:,} {what}", err=True)
