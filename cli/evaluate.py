"""`feedmill evaluate`: how good a model is on files of posts, or on the product's own topics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from feedmill.cli import flag, option
from feedmill.cli.options import StoreType, with_environment
from feedmill.cli.output import Answer, answers_as, warn
from feedmill.cli.progress import long_work
from feedmill.cli.train_options import (
    check_of_filter,
    data_folder,
    look_options,
    report_look,
    topic_options,
)
from feedmill.events.errors import UsageError
from feedmill.filters.model import FilterSpec
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import read_card, store_with
from feedmill.models.store_files import Store
from feedmill.rankers.quality import RANKER as QUALITY_RANKER
from feedmill.rankers.registry import ENGAGEMENT_RANKER, RANKERS
from feedmill.rankers.spec import STORE as RANKER_STORE
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import DAY_MS


@click.command()
@click.argument(
    "name",
    metavar="<model>",
    type=click.Choice([*FILTERS, *RANKERS]),
)
@option("--data PATH[,…]", "Labelled posts, as for `train`.", multiple=True)
@option("--ordinary PATH[,…]", "Ordinary posts, no labels.", multiple=True)
@option(
    "--model STORE",
    "Evaluate the model in this store.  [FEEDMILL_MODELS, else the shipped one]",
    StoreType(),
    name="store",
)
@option(
    "--against STORE", "Compare with the model in this store, by paired differences.", StoreType()
)
@option("--folds", "Evaluate by grouped cross-validation.", click.IntRange(min=2))
@flag("--alone", "Train folds on their own data set only.")
@flag("--leave-one-out", "Evaluate each set by a model without it.")
@option("--out", "Write report and curves here.", click.Path(path_type=Path))
@topic_options
@look_options
@option(
    "--ordinary-rows",
    "The most rows of each ordinary source that a model trained here learns from.",
    click.IntRange(min=200),
)
@option(
    "--rows",
    "The most rows of each labelled set that a model trained here learns from.",
    click.IntRange(min=100),
    name="labelled_rows",
)
@option("--jobs", "Models trained at a time.", click.IntRange(1, 64), 2)
@answers_as("The report as JSON.")
@with_environment
def evaluate(*, environment: Environment, name: str, **options: Any) -> Answer:
    """Evaluate a filter on labelled and on ordinary posts.

    Evaluates the stored model on any file that did not train it, and, with --look, on the test rows
    of the files that its card names; each look is logged. With --folds or --leave-one-out it
    evaluates models that it trains and throws away (give --model too for both). A row is dropped if
    the model learned the row, its group or its text.

    With --from-topics engagement is evaluated on impressions of posts that came later, and quality
    on labels; quality takes --data FILE with ratings from 0 to 1 as well.
    """
    given = _Options(**options)
    if name == ENGAGEMENT_RANKER.name:
        return _evaluate_impressions(environment, given)
    if name == QUALITY_RANKER.name:
        return _evaluate_ratings(environment, given)
    return _evaluate_filter(environment, FILTERS[name], given)


@dataclass(frozen=True)
class _Options:
    """What `feedmill evaluate` is told; see its help."""

    data: tuple[str, ...]
    ordinary: tuple[str, ...]
    store: Store | None
    against: Store | None
    folds: int | None
    alone: bool
    leave_one_out: bool
    out: Path | None
    from_topics: bool
    wait_ms: int | None
    look: str | None
    looks: Path | None
    ordinary_rows: int | None
    labelled_rows: int | None
    jobs: int

    @property
    def trains(self) -> bool:
        """Whether models are to be trained for it."""
        budget = (self.ordinary_rows, self.labelled_rows)
        return any((self.folds, self.alone, self.leave_one_out, *budget))


def _evaluate_filter(environment: Environment, spec: FilterSpec, given: _Options) -> Answer:
    from feedmill.training.evaluation import filter_evaluation  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.cross_validation import TrainingBudget  # noqa: PLC0415 - the `train` extra
    from feedmill.training.training_data import read_training_data  # noqa: PLC0415 - the `train` extra

    check_of_filter(from_topics=given.from_topics, wait_ms=given.wait_ms)
    if given.alone and not given.folds:
        raise UsageError("--alone needs --folds")
    modes = filter_evaluation.EvaluationModes(
        bool(given.store or given.against or not (given.folds or given.leave_one_out)),
        given.store or environment.models,
        given.against,
        given.folds or 0,
        given.leave_one_out,
        look=given.look is not None,
    )
    with long_work("evaluating", "nothing was written, and no look is logged") as work:
        budget = TrainingBudget(
            given.alone, given.ordinary_rows, given.labelled_rows, given.jobs, tell=work.tell
        )
        posts = read_training_data(spec, given.data or (str(data_folder()),), given.ordinary)
        evaluation = filter_evaluation.evaluate_one(spec, posts, modes, budget)
    if given.look is not None:
        cards = [of_filter.card for of_filter in evaluation.filters if of_filter.card]
        report_look(given.look, given.looks, cards, evaluation.rows_by_source)
    if given.out:
        filter_evaluation.write_report(evaluation, given.out)
    return _page(evaluation, filter_evaluation.as_markdown(evaluation))


def _page(content: Any, page: str) -> Answer:
    return Answer(content, [page.removesuffix("\n")])


def _check(name: str, words: str, *, fits: bool) -> None:
    if not fits:
        raise UsageError(f"{name} is evaluated with {words} alone")


def _evaluate_impressions(environment: Environment, given: _Options) -> Answer:
    from feedmill.cli.train_from_topics import read_impressions, waited_less  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.engagement_evaluation import (  # noqa: PLC0415 - as above
        evaluate_later_posts,
        markdown,
        shipped_engagement,
    )
    from feedmill.training.recipes import ENGAGEMENT  # noqa: PLC0415 - as above

    name, wait_ms = ENGAGEMENT_RANKER.name, given.wait_ms or DAY_MS
    others = given.trains or any(
        (given.data, given.ordinary, given.store, given.against, given.look, given.out)
    )
    _check(name, "--from-topics, --wait and --json", fits=given.from_topics and not others)
    with long_work("evaluating engagement", "nothing was written") as work:
        counted = read_impressions(environment, wait_ms, 0, work.tell)
        work.tell("fitting and measuring")
        with waited_less(counted, wait_ms):
            found = evaluate_later_posts(ENGAGEMENT, counted.rows, shipped_engagement())
    return _page(found, markdown(found))


def _evaluate_ratings(environment: Environment, given: _Options) -> Answer:
    from feedmill.cli.train_from_topics import read_ratings  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation import rating_evaluation  # noqa: PLC0415 - as above

    others = (given.ordinary, given.out, given.wait_ms, given.data and given.from_topics)
    words = "--data or --from-topics, --model, --against, --look and --json"
    _check(QUALITY_RANKER.name, words, fits=not given.trains and not any(others))
    versions = []
    for store in [given.store or environment.models, *([given.against] if given.against else [])]:
        found_in = store_with(store, QUALITY_RANKER.name, RANKER_STORE)
        card = read_card(found_in, QUALITY_RANKER.name)
        model = QUALITY_RANKER.load(found_in, card.sha256)
        versions.append(rating_evaluation.StoredVersion(model, card, found_in))
    with long_work("evaluating quality", "nothing was written, and no look is logged") as work:
        if given.from_topics:
            ratings, left_out = read_ratings(environment, 0, work.tell)
            files = [rating_evaluation.RatedFile.of(ratings)]
            for what, count in left_out.items():
                warn(f"left out: {count} {what}")
        else:
            files = rating_evaluation.read_rated_files(given.data or [str(data_folder())])
        reports = rating_evaluation.evaluate_ratings(versions, files, look=given.look is not None)
    if given.look is not None:
        rows = [(report.source, report.rows) for report in reports]
        report_look(given.look, given.looks, [version.card for version in versions], rows)
    return _page(reports, rating_evaluation.as_markdown(reports))
