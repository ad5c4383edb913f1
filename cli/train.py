"""`feedmill train`: a model from labelled files, or from the topic `labels`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from feedmill.cli.data_options import data_folder, since_ms
from feedmill.cli.follow_options import FollowOptions, follow_options, said_when_interrupted
from feedmill.cli.look_options import LOOKS, look_options, report_look
from feedmill.cli.options import StoreType, with_environment
from feedmill.cli.output import print_json
from feedmill.cli.progress import long_work
from feedmill.cli.train_ranker import RankerRun, TopicOptions, topic_options, train_ranker
from feedmill.cli.train_summary import filter_figures, release_text, summary
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store, parse_store
from feedmill.rankers.registry import ENGAGEMENT_RANKER, RANKERS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.training.progress import Tell, silent

if TYPE_CHECKING:
    from feedmill.training.training_data import TrainingData


SHIPPED = "shipped"
# Of a training that was ended.
STANDS = "the store has the model that it had, and no part of another one: run the command again"


@dataclass(frozen=True)
class _TrainOptions:
    """What a filter is to learn from, as the command line gives it."""

    model: str
    data: tuple[str, ...]
    ordinary: tuple[str, ...]
    from_labels: bool
    since_ms: int
    base: str | None = None
    keeps_rows: bool = True
    tell: Tell = silent

    def check_for_ranker(self, look: str | None) -> None:
        """Raise `UsageError` where an option is for filters alone."""
        if self.ordinary or self.base or self.from_labels or look:
            raise UsageError(
                f"{self.model} learns from its own data sets alone: --data FOLDER, or --from-topics"
            )

    @property
    def command(self) -> str:
        """The command for the card, with the files' names but not their folders."""
        words = ["feedmill", "train", self.model]
        if self.base is not None:
            words += ["--base", SHIPPED if self.base == SHIPPED else Path(self.base).name]
        for option, paths in (("--data", self.data), ("--ordinary", self.ordinary)):
            for path in paths:
                file, comma, columns = path.partition(",")
                name = "DATA" if Path(path).is_dir() else Path(file).name
                words += [option, name + comma + columns]
        words += ["--from-labels"] if self.from_labels else []
        return shlex.join([*words, *([] if self.keeps_rows else ["--no-snapshot"])])


@click.command()
@click.argument("model", type=click.Choice([*FILTERS, *RANKERS]))
@click.option("--data", multiple=True, metavar="PATH[,…]", help="Labelled posts; see above.")
@click.option("--ordinary", multiple=True, metavar="PATH[,…]", help="Ordinary posts, no labels.")
@click.option(
    "--base", metavar="STORE", help="Fit the filter of this store, or `shipped`, to labels."
)
@click.option("--from-labels", is_flag=True, help="Also learn from the topics labels and posts.")
@click.option(
    "--since", metavar="TIME", help="Take only labels, or posts, from this time on.  [all]"
)
@click.option(
    "--out",
    type=StoreType(),
    metavar="STORE",
    help="The store, made if need be.  [FEEDMILL_MODELS, else ./models]",
)
@topic_options
@click.option(
    "--snapshot/--no-snapshot",
    "keeps_rows",
    default=True,
    help="Keep the rows in the store, named on the card.  [--snapshot]",
)
@follow_options
@look_options
@click.option("--day", metavar="DATE", help="The day that its card states.  [today]")
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
@with_environment
def train(
    *,
    environment: Environment,
    model: str,
    data: tuple[str, ...],
    ordinary: tuple[str, ...],
    base: str | None,
    from_labels: bool,
    since: str | None,
    out: Store | None,
    topics: TopicOptions,
    keeps_rows: bool,
    follow: FollowOptions | None,
    look: str | None,
    looks: Path | None,
    day: str | None,
    as_json: bool,
) -> None:
    """Train a model and save it, with its card, into a store.

    --data and --ordinary take a file of CSV, TSV, JSON lines (each also .gz) or Parquet and say
    which column is what: FILE,text=COLUMN,label=COLUMN,positive=VALUE|VALUE,
    group=COLUMN,time=COLUMN,author=COLUMN,lang=COLUMN,link=COLUMN,community=COLUMN,id=COLUMN,
    name=NAME,weight=W, all of them optional; give several to learn from several.  A folder stands
    for the data sets of the filter's recipe in it.

    Groups are never split: six in ten train the model, two choose its thresholds, and two only
    test it, where --look asks for it. The same data give the same model. The store keeps the rows,
    and --data and --ordinary read them again from snapshots/<sha256>.parquet.

    With --base a stored filter is fitted to labels of your own, from 100 labels on, and --ordinary
    names ordinary posts of your own, which choose its thresholds.

    With --follow it goes on until it is ended: it fits the shipped filter to the labels of the
    window, and releases a version that is better on labels it had not learned, and not worse on
    --ordinary. engagement learns from the impressions of the window; --ordinary is a snapshot of
    impressions that are older.

    With --from-topics a ranker learns from the product itself. engagement counts posts and
    engagements again as its stage did, and learns who clicked within --wait of seeing a post first;
    quality learns from labels whose target is quality, and from a --data FOLDER if there is one.
    """
    given = _TrainOptions(model, data, ordinary, from_labels, since_ms(since), base, keeps_rows)
    if follow is not None:
        if since or out or look or day or topics.are_read:
            raise UsageError("--follow goes with --base and --ordinary alone")
        _follow(environment, given, follow, topics.wait_ms, as_json)
        return
    store = out or environment.models or Path("models")
    trained_on = day or datetime.now(UTC).date().isoformat()
    with long_work(f"training {model}", STANDS) as work:
        given = replace(given, tell=work.tell)
        card, measure = _train(environment, given, topics, store, trained_on, look, looks)
    _show(environment, card, store, measure, as_json)


def _train(
    environment: Environment,
    given: _TrainOptions,
    topics: TopicOptions,
    store: Store,
    day: str,
    look: str | None,
    looks: Path | None,
) -> tuple[ModelCard, Callable[[], str]]:
    """Train and store a model; return its card, and what says how good it is."""
    if given.model not in RANKERS:
        topics.check_for_filter()
        card, data = _train_on_labels(environment, given, store, day, look, looks)
        return card, partial(filter_figures, card, data)
    given.check_for_ranker(look)
    run = RankerRun(
        given.model, given.data, topics, given.since_ms, store, day, given.keeps_rows, given.tell
    )
    trained = train_ranker(environment, run)
    return trained.card, trained.figures


def _show(
    environment: Environment,
    card: ModelCard,
    store: Store,
    measure: Callable[[], str],
    as_json: bool,
) -> None:
    if as_json:
        print_json(msgspec.to_builtins(card))
        return
    stands = f"{card.name}@{card.version} is in {store}, whole, and was not measured"
    with long_work(f"measuring {card.name}", stands) as work:
        work.tell("beside the shipped one")
        figures = measure()
    parts = (summary(card, store), figures, release_text(environment, card, store))
    click.echo("\n\n".join(parts))


def _train_on_labels(
    environment: Environment,
    given: _TrainOptions,
    store: Store,
    day: str,
    look: str | None,
    looks: Path | None,
) -> tuple[ModelCard, TrainingData]:
    if given.since_ms and not given.from_labels:
        raise UsageError("--since needs --from-labels")
    if given.base and not (given.data or given.from_labels):
        raise UsageError("--base needs labels of your own: --data FILE or --from-labels")
    if not (given.data or given.from_labels):
        given = replace(given, data=(str(data_folder()),))
    from feedmill.training.training_data import unused_rows  # noqa: PLC0415 scikit-learn

    data = _training_data(environment, given)
    card = _train_filter(given, data, store, day, look=look is not None)
    for note in unused_rows(data, card):
        click.echo(note, err=True)
    if look is not None:
        report_look(look, looks or LOOKS, [card], data.test_rows)
    return card, data


@said_when_interrupted()
def _follow(
    environment: Environment,
    given: _TrainOptions,
    options: FollowOptions,
    wait_ms: int | None,
    as_json: bool,
) -> None:
    if given.model == ENGAGEMENT_RANKER.name:
        _follow_engagement(environment, given, options, wait_ms or DAY_MS, as_json)
        return
    if wait_ms is not None:
        raise UsageError("--wait goes with engagement: a filter follows labels")
    _follow_labels(environment, given, options, as_json)


def _follow_labels(
    environment: Environment, given: _TrainOptions, options: FollowOptions, as_json: bool
) -> None:
    from feedmill.cli.train_follow import FollowRun, follow  # noqa: PLC0415 scikit-learn
    from feedmill.training.training_data import read_training_data  # noqa: PLC0415 as above

    spec = FILTERS.get(given.model)
    if spec is None or given.data or given.from_labels or len(given.ordinary) != 1:
        raise UsageError(
            "--follow trains a filter on the topic `labels`: give one --ordinary FILE, no --data"
        )
    base = None if given.base in (None, SHIPPED) else parse_store(str(given.base))
    click.echo(f"reading the ordinary posts of {given.ordinary[0]}", err=True)
    (ordinary,) = read_training_data(spec, (), given.ordinary).ordinary
    command = f"{given.command} --follow"
    run = FollowRun(spec, base, ordinary, options, command, as_json, given.keeps_rows)
    follow(environment, run)


def _follow_engagement(
    environment: Environment,
    given: _TrainOptions,
    options: FollowOptions,
    wait_ms: int,
    as_json: bool,
) -> None:
    from feedmill.cli import train_follow_engagement as module  # noqa: PLC0415 scikit-learn

    if given.data or given.from_labels or given.base or len(given.ordinary) != 1:
        raise UsageError(
            "--follow trains engagement on the topics `posts` and `engagements`: give one"
            " --ordinary SNAPSHOT of earlier impressions, no --base and no --data"
        )
    command = f"{given.command} --follow"
    run = module.EngagementFollowRun(
        Path(given.ordinary[0]), wait_ms, options, command, as_json, given.keeps_rows
    )
    module.follow_engagement(environment, run)


def _train_filter(
    given: _TrainOptions,
    data: TrainingData,
    store: Store,
    day: str,
    *,
    look: bool,
) -> ModelCard:
    from feedmill.training.trainers import filters  # noqa: PLC0415 scikit-learn

    spec, run = (
        FILTERS[given.model],
        filters.TrainingRun(day, given.command, look, given.keeps_rows, given.tell),
    )
    if given.base is None:
        return filters.train(spec, data, store, run)
    base = None if given.base == SHIPPED else parse_store(given.base)
    return filters.train_local(spec, base, data, store, run)


def _training_data(environment: Environment, given: _TrainOptions) -> TrainingData:
    from feedmill.training.training_data import read_training_data  # noqa: PLC0415 scikit-learn

    given.tell(f"reading {len(given.data) + len(given.ordinary)} files")
    data = read_training_data(FILTERS[given.model], given.data, given.ordinary)
    if not given.from_labels:
        return data
    from feedmill.cli.label_topics import add_labels  # noqa: PLC0415 imports the above

    data, left_out = add_labels(environment, given.model, data, given.since_ms, given.tell)
    for what, count in left_out.items():
        click.echo(f"left out: {count} {what}", err=True)
    return data
