"""`feedmill train`: a model from labelled files, or from the product's topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from feedmill.cli import flag, option
from feedmill.cli.options import StoreType, with_environment
from feedmill.cli.output import Answer, print_answer, warn
from feedmill.cli.progress import long_work
from feedmill.cli.train_options import (
    SHIPPED,
    TrainOptions,
    check_of_filter,
    data_folder,
    follow_options,
    look_options,
    report_look,
    time_since,
    topic_options,
)
from feedmill.cli.train_summary import (
    clicks_figures,
    filter_figures,
    learned_by_both,
    ratings_figures,
    release_text,
    summary,
)
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store, parse_store
from feedmill.rankers.impressions import Impressions
from feedmill.rankers.registry import ENGAGEMENT_RANKER, RANKERS
from feedmill.streams.environment import Environment

if TYPE_CHECKING:
    from feedmill.training.training_data import TrainingData

# The card of a model that was stored, and what says how good it is.
Trained = tuple[ModelCard, Callable[[], str]]

_ENGAGEMENT = ENGAGEMENT_RANKER.name
# Of a training that was ended.
STANDS = "the store has the model that it had, and no part of another one: run the command again"
_TOGETHER = {
    True: "--from-topics takes no --data: engagement learns from the topics alone then",
    False: "--from-topics goes with one --data FOLDER, or with none",
}


@click.command()
@click.argument("model", type=click.Choice([*FILTERS, *RANKERS]))
@option("--data PATH[,…]", "Labelled posts; see above.", multiple=True)
@option("--ordinary PATH[,…]", "Ordinary posts, no labels.", multiple=True)
@option("--base STORE", "Fit the filter of this store, or `shipped`, to labels.")
@flag("--from-labels", "Also learn from the topics labels and posts.")
@option("--since TIME", "Take only labels, or posts, from this time on.  [all]")
@option("--out STORE", "The store, made if need be.  [FEEDMILL_MODELS, else ./models]", StoreType())
@topic_options
@option(
    "--snapshot/--no-snapshot",
    "Keep the rows in the store, named on the card.  [--snapshot]",
    default=True,
    name="keeps_rows",
)
@follow_options
@look_options
@option("--day DATE", "The day that its card states.  [today]")
@flag("--json", "The card as JSON.", "as_json")
@with_environment
def train(
    *,
    environment: Environment,
    as_json: bool,
    since: str | None,
    out: Store | None,
    **options: Any,
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
    --ordinary. quality is moved by the ratings of the window. engagement learns from its
    impressions; --ordinary is a snapshot of impressions that are older.

    With --from-topics a ranker learns from the product itself. engagement counts posts and
    engagements again as its stage did, and learns who clicked within --wait of seeing a post first;
    quality learns from labels whose target is quality, and from a --data FOLDER if there is one.
    """
    store = out or environment.models or Path("models")
    given = TrainOptions(since_ms=time_since(since), store=store, **options)
    if given.is_following:
        if since or out or given.look or given.day or given.from_topics:
            raise UsageError("--follow goes with --base and --ordinary alone")
        from feedmill.cli.train_follow import follow  # noqa: PLC0415 scikit-learn

        follow(environment, given, as_json=as_json)
        return
    if given.every_ms or given.window_ms:
        raise UsageError("--every and --window need --follow")
    with long_work(f"training {given.model}", STANDS) as work:
        given = replace(given, tell=work.tell)
        train_one = _train_ranker if given.model in RANKERS else _train_filter
        card, measure = train_one(environment, given)
    print_answer(Answer(card, _lines(environment, given, card, measure)), as_json=as_json)


def _lines(
    environment: Environment, given: TrainOptions, card: ModelCard, measure: Callable[[], str]
) -> Iterator[str]:
    """Yield what a model is, how good it is, and how to release it."""
    stands = f"{card.name}@{card.version} is in {given.store}, whole, and was not measured"
    with long_work(f"measuring {card.name}", stands) as work:
        work.tell("beside the shipped one")
        figures = measure()
    release = release_text(environment, card, given.store)
    yield "\n\n".join((summary(card, given.store), figures, release))


def _train_filter(environment: Environment, given: TrainOptions) -> Trained:
    """Train and store a filter."""
    check_of_filter(from_topics=given.from_topics, wait_ms=given.wait_ms)
    if given.since_ms and not given.from_labels:
        raise UsageError("--since needs --from-labels")
    if given.base and not (given.data or given.from_labels):
        raise UsageError("--base needs labels of your own: --data FILE or --from-labels")
    if not (given.data or given.from_labels):
        given = replace(given, data=(str(data_folder()),))
    from feedmill.training.trainers import filters  # noqa: PLC0415 scikit-learn
    from feedmill.training.training_data import unused_rows  # noqa: PLC0415 scikit-learn

    spec, data = FILTERS[given.model], _training_data(environment, given)
    is_looked_at = given.look is not None
    run = filters.TrainingRun(
        given.trained_on, given.command, is_looked_at, given.keeps_rows, given.tell
    )
    if given.base is None:
        card = filters.train(spec, data, given.store, run)
    else:
        base = None if given.base == SHIPPED else parse_store(given.base)
        card = filters.train_local(spec, base, data, given.store, run)
    for note in unused_rows(data, card):
        warn(note)
    if given.look is not None:
        report_look(given.look, given.looks, [card], data.test_rows)
    return card, partial(filter_figures, card, data)


def _training_data(environment: Environment, given: TrainOptions) -> TrainingData:
    from feedmill.training.training_data import read_training_data  # noqa: PLC0415 scikit-learn

    given.tell(f"reading {len(given.data) + len(given.ordinary)} files")
    data = read_training_data(FILTERS[given.model], given.data, given.ordinary)
    if not given.from_labels:
        return data
    from feedmill.cli.train_from_topics import add_labels  # noqa: PLC0415 imports the above

    data, left_out = add_labels(environment, given.model, data, given.since_ms, given.tell)
    for what, count in left_out.items():
        warn(f"left out: {count} {what}")
    return data


def _train_ranker(environment: Environment, given: TrainOptions) -> Trained:
    """Train a ranker and save it; measured beside the shipped one once that is asked for.

    Raises `UsageError` where options do not go together, or there is too little to learn from.
    """
    if given.ordinary or given.base or given.from_labels or given.look:
        raise UsageError(
            f"{given.model} learns from its own data sets alone: --data FOLDER, or --from-topics"
        )
    is_engagement = given.model == _ENGAGEMENT
    if given.wait_ms is not None and not (given.from_topics and is_engagement):
        raise UsageError(f"--wait goes with `train {_ENGAGEMENT} --from-topics`")
    if given.since_ms and not given.from_topics:
        raise UsageError("--since needs --from-topics")
    folders = [path for path in given.data if Path(path).is_dir()]
    files = [path for path in given.data if path not in folders]
    if given.from_topics:
        if files or len(folders) > (0 if is_engagement else 1):
            raise UsageError(_TOGETHER[is_engagement])
        if is_engagement:
            return _on_impressions(environment, given)
        return _on_labels(environment, given, Path(folders[0]) if folders else None)
    if is_engagement and len(files) == 1 and not folders and files[0].endswith(".parquet"):
        from feedmill.training.datasets.snapshots import read_impressions  # noqa: PLC0415 scikit-learn

        return _on_rows(given, read_impressions(Path(files[0])), {})
    return _on_data_sets(given, folders, files)


def _on_data_sets(given: TrainOptions, folders: Sequence[str], files: Sequence[str]) -> Trained:
    from feedmill.training.trainers.registry import TRAINERS  # noqa: PLC0415 scikit-learn

    if len(folders) > 1 or (files and given.model == _ENGAGEMENT) or len(files) > 1:
        own = "" if given.model == _ENGAGEMENT else " and --data FILE with ratings of your own"
        raise UsageError(
            f"{given.model} learns from the data sets of one folder: --data FOLDER{own};"
            " or from --from-topics"
        )
    folder = Path(folders[0]) if folders else data_folder()
    given.tell("reading, fitting, measuring and storing")
    card = TRAINERS[given.model](folder, given.store, given.trained_on, files, given.keeps_rows)
    return card, partial(learned_by_both, card)


def _on_impressions(environment: Environment, given: TrainOptions) -> Trained:
    from feedmill.cli.train_from_topics import read_impressions, waited_less  # noqa: PLC0415 scikit-learn
    from feedmill.training.datasets.impression_arms import check_enough  # noqa: PLC0415 as above

    wait_ms = given.reaction_ms
    counted = read_impressions(environment, wait_ms, given.since_ms, given.tell)
    _report(counted.left_out)
    warn(f"features: {counted.compared:,} logged values counted again")
    if counted.differing:
        warn(
            f"features: {len(counted.differing):,} of them differ, of the posts"
            f" {', '.join(counted.differing[:3])}, …: give this command the FEEDMILL_USER_WINDOW,"
            " FEEDMILL_BURST_REACTIONS and FEEDMILL_EXAMINATION of the workers"
        )
    with waited_less(counted, wait_ms):
        check_enough(counted.rows)
    given.tell("fitting, measuring and storing")
    settings: dict[str, object] = {
        "wait_ms": wait_ms,
        "user_window": environment.user_window,
        "burst_reactions": environment.burst_reactions,
        "examination": [*environment.examination],
        "features_compared": counted.compared,
        "features_differing": len(counted.differing),
    }
    return _on_rows(given, counted.rows, settings)


def _on_rows(given: TrainOptions, rows: Impressions, settings: dict[str, object]) -> Trained:
    from feedmill.training.trainers.engagement import OwnRun, train_on_impressions  # noqa: PLC0415 scikit-learn

    own = OwnRun(given.store, given.trained_on, given.command, settings, given.keeps_rows)
    card = train_on_impressions(rows, own)
    return card, partial(clicks_figures, card, rows)


def _on_labels(environment: Environment, given: TrainOptions, folder: Path | None) -> Trained:
    from feedmill.cli.train_from_topics import read_ratings  # noqa: PLC0415 scikit-learn
    from feedmill.training.trainers.quality import train_on_labels  # noqa: PLC0415 as above

    labels, left_out = read_ratings(environment, given.since_ms, given.tell)
    _report(left_out)
    given.tell("fitting, measuring and storing")
    card = train_on_labels(
        labels, folder, given.store, given.trained_on, given.command, given.keeps_rows
    )
    return card, partial(ratings_figures, card, labels.rows)


def _report(left_out: dict[str, int]) -> None:
    for what, count in left_out.items():
        warn(f"left out: {count:,} {what}")
