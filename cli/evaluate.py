"""`feedmill evaluate`: how good a filter is, and on which posts."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
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
from feedmill.rankers.registry import ENGAGEMENT_RANKER, RANKERS
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.streams.settings.environment import Environment
from feedmill.training.evaluation.looks import read_looks

if TYPE_CHECKING:
    from feedmill.training.evaluation.cross_validation import TrainingBudget
    from feedmill.training.evaluation.report import Evaluation

# So few ordinary posts that the many models of --all take minutes, not hours.
_ORDINARY_ROWS_OF_ALL = 2000
_ALL_RANKERS = "rankers"


@click.command()
@click.argument(
    "name",
    metavar="<model>",
    required=False,
    type=click.Choice([*FILTERS, *RANKERS, _ALL_RANKERS]),
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
@click.option("--all", "everything", is_flag=True, help="Evaluate all filters.")
@click.option("--out", type=click.Path(path_type=Path), help="Write report and curves here.")
@click.option("--docs", type=click.Path(path_type=Path), help="With --all: write filters.md here.")
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
    name: str | None,
    data: tuple[str, ...],
    ordinary: tuple[str, ...],
    store: Store | None,
    against: Store | None,
    folds: int | None,
    alone: bool,
    leave_one_out: bool,
    everything: bool,
    out: Path | None,
    docs: Path | None,
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

    --all evaluates all filters on the data sets of one folder: as they are stored, with sets left
    out, on ordinary posts, after few labels; with --folds also by cross-validation.

    A ranker's recipe is evaluated on the data sets of one folder by models that it throws away;
    with --look the stored ranker is too, on the test rows. `rankers` stands for all of them.
    With --from-topics engagement is, on impressions of posts that came later.
    """
    from feedmill.training.evaluation import evaluation_page, evaluation_runs, report  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.cross_validation import TrainingBudget  # noqa: PLC0415 - the `train` extra

    given = _Given(name, data, ordinary, store, against, folds, alone, leave_one_out, look, topics)
    if name in {*RANKERS, _ALL_RANKERS}:
        _evaluate_rankers(given, environment, docs, looks, as_json=as_json)
        return
    given.check(everything=everything, docs=docs)
    with long_work("evaluating", "nothing was written, and no look is logged") as work:
        budget = TrainingBudget(alone, ordinary_rows, labelled_rows, jobs, tell=work.tell)
        run = _evaluate_all if everything else _evaluate_one
        evaluation = run(given, environment, budget)
    log = looks or (docs / LOOKS if docs else LOOKS)
    if look is not None:
        cards = [of_filter.card for of_filter in evaluation.filters if of_filter.card]
        report_look(look, log, cards, evaluation.rows_by_source)
    if docs:
        evaluation_page.write_page(evaluation, read_looks(log), docs)
    if out:
        evaluation_runs.write_report(evaluation, out)
    if as_json:
        print_json(msgspec.to_builtins(evaluation))
    else:
        click.echo(report.as_markdown(evaluation), nl=False)


@dataclass(frozen=True)
class _Given:
    """What to evaluate, as the command line gives it."""

    name: str | None
    data: tuple[str, ...]
    ordinary: tuple[str, ...]
    store: Store | None
    against: Store | None
    folds: int | None
    alone: bool
    leave_one_out: bool
    look: str | None
    topics: TopicOptions

    def check(self, *, everything: bool, docs: Path | None) -> None:
        """Raise `UsageError` where options do not go together."""
        self.topics.check_for_filter()
        if everything:
            others = (self.name, self.ordinary, self.against, self.leave_one_out)
            if any(others) or self.alone:
                raise UsageError("--all evaluates all filters on one --data FOLDER")
        elif docs:
            raise UsageError("--docs goes with --all")
        elif self.name is None:
            raise UsageError("name a filter, or give --all")
        elif self.alone and not self.folds:
            raise UsageError("--alone needs --folds")


def _evaluate_rankers(
    given: _Given, environment: Environment, docs: Path | None, looks: Path | None, *, as_json: bool
) -> None:
    from feedmill.training.evaluation import combined_loss, ranker_report, ranker_runs  # noqa: PLC0415 - the `train` extra

    if given.topics.are_read:
        _evaluate_impressions(given, environment, as_json=as_json)
        return
    if given.ordinary or given.folds or given.alone or given.leave_one_out or given.against:
        raise UsageError(f"{given.name} takes --data FOLDER, --model, --look, --docs and --json")
    names = [*RANKERS] if given.name == _ALL_RANKERS else [given.name or ""]
    found = ranker_runs.evaluate_rankers(
        names,
        _one_folder(given.data),
        given.store or environment.models,
        look=given.look is not None,
    )
    if given.look is not None:
        cards = [evaluation.card for evaluation in found if evaluation.card]
        sources = [source for evaluation in found for source in evaluation.rows]
        report_look(given.look, looks or (docs / LOOKS if docs else LOOKS), cards, sources)
    command = f"feedmill evaluate {given.name}"
    if docs:
        ranker_runs.write_ranker_page(found, docs, f"{command} --look … --docs docs")
        compared = combined_loss.compare(_one_folder(given.data), time.perf_counter)
        (docs / "combined-loss.md").write_text(combined_loss.page(compared), encoding="utf-8")
    if as_json:
        print_json(msgspec.to_builtins([msgspec.to_builtins(e.bars) for e in found]))
    else:
        click.echo(ranker_report.page(found, command), nl=False)


def _evaluate_impressions(given: _Given, environment: Environment, *, as_json: bool) -> None:
    from feedmill.cli.engagement_topics import read_impressions, waited_less  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.impressions import evaluate_later_posts, markdown  # noqa: PLC0415 - as above
    from feedmill.training.evaluation.rankers_beside import shipped_engagement  # noqa: PLC0415 - as above
    from feedmill.training.ranker_recipes import ENGAGEMENT  # noqa: PLC0415 - as above

    if given.name != ENGAGEMENT_RANKER.name or given.data or given.look is not None:
        raise UsageError("--from-topics evaluates engagement alone, without --data and --look")
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


def _evaluate_one(given: _Given, environment: Environment, budget: TrainingBudget) -> Evaluation:
    from feedmill.training.evaluation import evaluation_runs  # noqa: PLC0415 - the `train` extra
    from feedmill.training.training_data import read_training_data  # noqa: PLC0415 - the `train` extra

    spec = FILTERS[given.name or ""]
    trains = given.folds or given.leave_one_out
    modes = evaluation_runs.EvaluationModes(
        bool(given.store or given.against or not trains),
        given.store or environment.models,
        given.against,
        given.folds or 0,
        given.leave_one_out,
        look=given.look is not None,
    )
    data = read_training_data(spec, given.data or (str(data_folder()),), given.ordinary)
    return evaluation_runs.evaluate_one(spec, data, modes, budget)


def _evaluate_all(given: _Given, environment: Environment, budget: TrainingBudget) -> Evaluation:
    from feedmill.training.evaluation import evaluation_runs  # noqa: PLC0415 - the `train` extra

    rows = budget.ordinary_rows or _ORDINARY_ROWS_OF_ALL
    return evaluation_runs.evaluate_all(
        _one_folder(given.data),
        given.store or environment.models,
        replace(budget, ordinary_rows=rows),
        _report_progress,
        folds=given.folds or 0,
        look=given.look is not None,
    )


def _one_folder(data: tuple[str, ...]) -> Path:
    folder = Path(data[0]) if data else data_folder()
    if len(data) > 1 or not folder.is_dir():
        raise UsageError(f"--all takes one folder: no folder {', '.join(data) or folder}")
    return folder


def _report_progress(what: str) -> None:
    click.echo(what, err=True)
