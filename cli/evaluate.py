"""`feedmill evaluate`: how good a model is on files of posts, or on the product's own topics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from feedmill.cli.data_options import data_folder
from feedmill.cli.look_options import LOOKS, look_options, report_look
from feedmill.cli.options import StoreType, with_environment
from feedmill.cli.output import print_json
from feedmill.cli.progress import long_work
from feedmill.cli.train_ranker import TopicOptions, topic_options
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.models.store_files import Store
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import DAY_MS

if TYPE_CHECKING:
    from feedmill.training.evaluation.cross_validation import TrainingBudget
    from feedmill.training.evaluation.filter_evaluation import Evaluation


@click.command()
@click.argument(
    "name",
    metavar="<model>",
    type=click.Choice([*FILTERS, ENGAGEMENT_RANKER.name]),
)
@click.option("--data", multiple=True, metavar="PATH[,…]", help="Labelled posts, as for `train`.")
@click.option("--ordinary", multiple=True, metavar="PATH[,…]", help="Ordinary posts, no labels.")
@click.option(
    "--model",
    "store",
    type=StoreType(),
    metavar="STORE",
    help="Evaluate the filter in this store.  [FEEDMILL_MODELS, else the shipped one]",
)
@click.option(
    "--against",
    type=StoreType(),
    metavar="STORE",
    help="Compare with the filter in this store, by paired differences.",
)
@click.option("--folds", type=click.IntRange(min=2), help="Evaluate by grouped cross-validation.")
@click.option("--alone", is_flag=True, help="Train folds on their own data set only.")
@click.option("--leave-one-out", is_flag=True, help="Evaluate each set by a model without it.")
@click.option("--out", type=click.Path(path_type=Path), help="Write report and curves here.")
@topic_options
@look_options
@click.option(
    "--ordinary-rows",
    type=click.IntRange(min=200),
    help="The most rows of each ordinary source that a model trained here learns from.",
)
@click.option(
    "--rows",
    "labelled_rows",
    type=click.IntRange(min=100),
    help="The most rows of each labelled set that a model trained here learns from.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=2, help="Models trained at a time.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@with_environment
def evaluate(
    *,
    environment: Environment,
    name: str,
    data: tuple[str, ...],
    ordinary: tuple[str, ...],
    store: Store | None,
    against: Store | None,
    folds: int | None,
    alone: bool,
    leave_one_out: bool,
    out: Path | None,
    topics: TopicOptions,
    look: str | None,
    looks: Path | None,
    ordinary_rows: int | None,
    labelled_rows: int | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Evaluate a filter on labelled and on ordinary posts.

    Evaluates the stored model on any file that did not train it, and, with --look, on the test rows
    of the files that its card names; each look is logged. With --folds or --leave-one-out it
    evaluates models that it trains and throws away (give --model too for both). A row is dropped if
    the model learned the row, its group or its text.

    With --from-topics engagement is evaluated, on impressions of posts that came later.
    """
    from feedmill.training.evaluation import filter_evaluation  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.cross_validation import TrainingBudget  # noqa: PLC0415 - the `train` extra

    given = _Given(name, data, ordinary, store, against, folds, alone, leave_one_out, look, topics)
    if name == ENGAGEMENT_RANKER.name:
        _evaluate_impressions(given, environment, as_json=as_json)
        return
    given.check()
    with long_work("evaluating", "nothing was written, and no look is logged") as work:
        budget = TrainingBudget(alone, ordinary_rows, labelled_rows, jobs, tell=work.tell)
        evaluation = _evaluate_filter(given, environment, budget)
    if look is not None:
        cards = [of_filter.card for of_filter in evaluation.filters if of_filter.card]
        report_look(look, looks or LOOKS, cards, evaluation.rows_by_source)
    if out:
        filter_evaluation.write_report(evaluation, out)
    if as_json:
        print_json(msgspec.to_builtins(evaluation))
    else:
        click.echo(filter_evaluation.as_markdown(evaluation), nl=False)


@dataclass(frozen=True)
class _Given:
    """What to evaluate, as the command line gives it."""

    name: str
    data: tuple[str, ...]
    ordinary: tuple[str, ...]
    store: Store | None
    against: Store | None
    folds: int | None
    alone: bool
    leave_one_out: bool
    look: str | None
    topics: TopicOptions

    def check(self) -> None:
        """Raise `UsageError` where options do not go together."""
        self.topics.check_for_filter()
        if self.alone and not self.folds:
            raise UsageError("--alone needs --folds")


def _evaluate_impressions(given: _Given, environment: Environment, *, as_json: bool) -> None:
    from feedmill.cli.engagement_topics import read_impressions, waited_less  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.engagement_evaluation import (  # noqa: PLC0415 - as above
        evaluate_later_posts,
        markdown,
        shipped_engagement,
    )
    from feedmill.training.recipes import ENGAGEMENT  # noqa: PLC0415 - as above

    others = (given.data, given.ordinary, given.store, given.against, given.folds, given.look)
    if not given.topics.are_read or any(others) or given.alone or given.leave_one_out:
        raise UsageError(f"{given.name} is evaluated by --from-topics, and takes --wait and --json")
    wait_ms = given.topics.wait_ms or DAY_MS
    with long_work("evaluating engagement", "nothing was written") as work:
        counted = read_impressions(environment, wait_ms, 0, work.tell)
        work.tell("fitting and measuring")
        with waited_less(counted, wait_ms):
            found = evaluate_later_posts(ENGAGEMENT, counted.rows, shipped_engagement())
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        click.echo(markdown(found), nl=False)


def _evaluate_filter(given: _Given, environment: Environment, budget: TrainingBudget) -> Evaluation:
    from feedmill.training.evaluation import filter_evaluation  # noqa: PLC0415 - the `train` extra
    from feedmill.training.training_data import read_training_data  # noqa: PLC0415 - the `train` extra

    spec = FILTERS[given.name]
    trains = given.folds or given.leave_one_out
    modes = filter_evaluation.EvaluationModes(
        bool(given.store or given.against or not trains),
        given.store or environment.models,
        given.against,
        given.folds or 0,
        given.leave_one_out,
        look=given.look is not None,
    )
    data = read_training_data(spec, given.data or (str(data_folder()),), given.ordinary)
    return filter_evaluation.evaluate_one(spec, data, modes, budget)
