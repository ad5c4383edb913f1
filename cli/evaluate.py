"""`feedmill evaluate`: how good a filter is, and on what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import msgspec

from feedmill.cli.data_options import data_folder
from feedmill.cli.options import with_environment
from feedmill.cli.output import print_json
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.streams.settings.environment import Environment

_FEW_ORDINARY = 2000


@click.command()
@click.argument("name", metavar="<filter>", required=False, type=click.Choice([*FILTERS]))
@click.option("--data", multiple=True, metavar="PATH[,…]", help="Labelled posts, as of `train`.")
@click.option("--ordinary", multiple=True, metavar="PATH[,…]", help="Ordinary posts, no labels.")
@click.option(
    "--model",
    "store",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="STORE",
    help="Judge the filter of this store.  [FEEDMILL_MODELS, else the shipped one]",
)
@click.option("--folds", type=click.IntRange(min=2), help="Judge by grouped cross-validation.")
@click.option("--alone", is_flag=True, help="Folds learn from their own set only.")
@click.option("--leave-one-out", is_flag=True, help="Judge each set by a model without it.")
@click.option("--all", "everything", is_flag=True, help="All filters, in every way.")
@click.option("--out", type=click.Path(path_type=Path), help="Write report and curves here.")
@click.option("--docs", type=click.Path(path_type=Path), help="With --all: write filters.md here.")
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
    store: Path | None,
    folds: int | None,
    alone: bool,
    leave_one_out: bool,
    everything: bool,
    out: Path | None,
    docs: Path | None,
    ordinary_rows: int | None,
    labelled_rows: int | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Judge a filter on labelled and on ordinary posts.

    Judges the stored filter on the rows that neither trained nor tuned it: of the files that its
    card names the part set apart, any other file whole. With --folds or --leave-one-out it judges
    models trained here instead (give --model too for both). No row judges a model that it, its
    group or its text taught.

    --all judges all filters in every way on the sets of one folder.
    """
    # scikit-learn takes a second to import, and only these commands need it.
    from feedmill.training.evaluation import evaluation_page, evaluation_runs, report  # noqa: PLC0415 - the `train` extra
    from feedmill.training.evaluation.filters import TrainingBudget  # noqa: PLC0415 - the `train` extra
    from feedmill.training.training_data import read_training_data  # noqa: PLC0415 - the `train` extra

    cost = TrainingBudget(alone, ordinary_rows, labelled_rows, jobs)
    own = store or environment.models
    if everything:
        if name or ordinary or folds or alone or leave_one_out:
            raise UsageError("--all judges all filters in all ways on one --data FOLDER")
        # Few ordinary posts, so that the many models of the folds take minutes.
        cost = replace(cost, ordinary_rows=ordinary_rows or _FEW_ORDINARY)
        found = evaluation_runs.evaluate_all(_one_folder(data), own, cost, _tell)
    elif docs or name is None:
        raise UsageError("--docs goes with --all" if docs else "name a filter, or say --all")
    elif alone and not folds:
        raise UsageError("--alone is about --folds")
    else:
        stored = store is not None or not (folds or leave_one_out)
        ways = evaluation_runs.EvaluationModes(stored, own, folds or 0, leave_one_out)
        material = read_training_data(name, data or (str(data_folder()),), ordinary)
        found = evaluation_runs.evaluate_one(name, material, ways, cost)
    if docs:
        evaluation_page.write_page(found, docs)
    if out:
        evaluation_runs.write_report(found, out)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        click.echo(report.as_markdown(found), nl=False)


def _one_folder(data: tuple[str, ...]) -> Path:
    folder = Path(data[0]) if data else data_folder()
    if len(data) > 1 or not folder.is_dir():
        raise UsageError(f"--all takes one folder: no folder {', '.join(data) or folder}")
    return folder


def _tell(what: str) -> None:
    click.echo(what, err=True)
