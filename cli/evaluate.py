"""`feedmill evaluate`: how good a model is on files of posts, or on the product's own topics."""

from __future__ import annotations

from pathlib import Path

import click

from feedmill.cli.options import StoreType, with_environment
from feedmill.cli.output import Answer, answers_as
from feedmill.cli.progress import long_work
from feedmill.cli.train_options import (
    check_of_filter,
    data_folder,
    look_options,
    report_look,
    topic_options,
)
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.models.store_files import Store
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import DAY_MS


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
@answers_as("The report as JSON.")
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
    from_topics: bool,
    wait_ms: int | None,
    look: str | None,
    looks: Path | None,
    ordinary_rows: int | None,
    labelled_rows: int | None,
    jobs: int,
) -> Answer:
    """Evaluate a filter on labelled and on ordinary posts.

    Evaluates the stored model on any file that did not train it, and, with --look, on the test rows
    of the files that its card names; each look is logged. With --folds or --leave-one-out it
    evaluates models that it trains and throws away (give --model too for both). A row is dropped if
    the model learned the row, its group or its text.

    With --from-topics engagement is evaluated, on impressions of posts that came later.
    """
    if name == ENGAGEMENT_RANKER.name:
        others = (data, ordinary, store, against, folds, look, alone, leave_one_out)
        if not from_topics or any(others):
            raise UsageError(f"{name} is evaluated by --from-topics, and takes --wait and --json")
        return _evaluate_impressions(environment, wait_ms or DAY_MS)
    from feedmill.training.evaluation import filter_evaluation  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.cross_validation import TrainingBudget  # noqa: PLC0415 - the `train` extra
    from feedmill.training.training_data import read_training_data  # noqa: PLC0415 - the `train` extra

    check_of_filter(from_topics=from_topics, wait_ms=wait_ms)
    if alone and not folds:
        raise UsageError("--alone needs --folds")
    modes = filter_evaluation.EvaluationModes(
        bool(store or against or not (folds or leave_one_out)),
        store or environment.models,
        against,
        folds or 0,
        leave_one_out,
        look=look is not None,
    )
    with long_work("evaluating", "nothing was written, and no look is logged") as work:
        budget = TrainingBudget(alone, ordinary_rows, labelled_rows, jobs, tell=work.tell)
        spec = FILTERS[name]
        posts = read_training_data(spec, data or (str(data_folder()),), ordinary)
        evaluation = filter_evaluation.evaluate_one(spec, posts, modes, budget)
    if look is not None:
        cards = [of_filter.card for of_filter in evaluation.filters if of_filter.card]
        report_look(look, looks, cards, evaluation.rows_by_source)
    if out:
        filter_evaluation.write_report(evaluation, out)
    return Answer(evaluation, [filter_evaluation.as_markdown(evaluation).removesuffix("\n")])


def _evaluate_impressions(environment: Environment, wait_ms: int) -> Answer:
    from feedmill.cli.train_from_topics import read_impressions, waited_less  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.engagement_evaluation import (  # noqa: PLC0415 - as above
        evaluate_later_posts,
        markdown,
        shipped_engagement,
    )
    from feedmill.training.recipes import ENGAGEMENT  # noqa: PLC0415 - as above

    with long_work("evaluating engagement", "nothing was written") as work:
        counted = read_impressions(environment, wait_ms, 0, work.tell)
        work.tell("fitting and measuring")
        with waited_less(counted, wait_ms):
            found = evaluate_later_posts(ENGAGEMENT, counted.rows, shipped_engagement())
    return Answer(found, [markdown(found).removesuffix("\n")])
