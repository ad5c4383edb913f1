"""`feedmill models diff`: what two versions are worth on the same rows, and what they learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from feedmill.cli.model_versions import chosen_card, model_argument
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, plain_table, print_json
from feedmill.cli.train_summary import metrics_table
from feedmill.filters.model import STORE
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard
from feedmill.streams.environment import Environment
from feedmill.training.evaluation.side_by_side import kept_data, measured_beside


@click.command("diff")
@model_argument
@click.argument("old")
@click.argument("new", required=False)
@json_option
@with_environment
def diff(environment: Environment, model: str, old: str, new: str | None, as_json: bool) -> None:
    """Compare the metrics of two versions, and their data; by default with the one in force.

    Of a filter the rows that trained one version and are kept in the store measure the other, too,
    unless it learned them. Other metrics of two cards are of the same rows only if both versions
    were tested on them.
    """
    cards = chosen_card(environment, model, old), chosen_card(environment, model, new)
    before, after = (_metrics(environment, *pair) for pair in (cards, cards[::-1]))
    names = [*before, *(name for name in after if name not in before)]
    files = [_files(card) for card in cards]
    data = [(n, files[0].get(n), files[1].get(n)) for n in sorted({*files[0], *files[1]})]
    versions = tuple(card.version for card in cards)
    if as_json:
        print_json(
            {
                "old": versions[0],
                "new": versions[1],
                "metrics": [{"name": n, "old": before.get(n), "new": after.get(n)} for n in names],
                "rows": [dict(zip(("file", "old", "new"), one, strict=True)) for one in data],
            }
        )
        return
    click.echo(_metrics_table(model, versions, (before, after)))
    click.echo()
    columns = ("rows of", *(f"{version}>" for version in versions))
    click.echo(plain_table(columns, [(n, _count(a), _count(b)) for n, a, b in data]))


def _metrics(environment: Environment, card: ModelCard, other: ModelCard) -> Mapping[str, float]:
    """Return the metrics of a card, and those on rows of the other that its store keeps."""
    if card.name not in FILTERS or card.sha256 == other.sha256:
        return card.metrics
    spec, store = FILTERS[card.name], environment.models or STORE
    try:
        data = kept_data(spec, other, store)
    except ModuleNotFoundError:  # the rows are Parquet, which needs the extra `train`
        return card.metrics
    if data is None:
        return card.metrics
    return {**measured_beside(spec.load(store, card.sha256), card, data), **card.metrics}


def _metrics_table(
    model: str, versions: Sequence[str], metrics: Sequence[Mapping[str, float]]
) -> str:
    if model in FILTERS:
        return metrics_table(versions, metrics)
    names = list(dict.fromkeys(name for one in metrics for name in one))
    rows = [(n, *(_number(one.get(n)) for one in metrics)) for n in names]
    return plain_table(("metric", *(f"{version}>" for version in versions)), rows)


def _files(card: ModelCard) -> dict[str, int]:
    return {f"{use.file} ({use.role})": use.rows for use in card.data}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
