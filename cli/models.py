"""`feedmill models list|show`: the versions of models.

The other commands are in `model_diff.py`, `model_releases.py`, `model_shadow.py`,
`model_compare.py`, `model_health.py`, `model_watch.py` and `model_purge.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from feedmill.cli.model_compare import compare
from feedmill.cli.model_diff import diff
from feedmill.cli.model_health import health
from feedmill.cli.model_purge import purge_command
from feedmill.cli.model_releases import freeze, release, rollback, unfreeze
from feedmill.cli.model_shadow import shadow
from feedmill.cli.model_versions import chosen_card, model_argument, read_history, sha256_in_force
from feedmill.cli.model_watch import watch
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table, time_text
from feedmill.models.cards import card_page
from feedmill.models.store import cards_of
from feedmill.streams.environment import Environment
from feedmill.streams.releases.loading import MODELS, shipped_sha256, shipped_store
from feedmill.streams.releases.release_log import FROZEN, RELEASED, HistoryRow, ReleaseHistory

# What a release without a version is of.
_SHIPPED = "(shipped)"


@click.group()
def models() -> None:
    """Release versions of models to running workers, compare them, and go back.

    Versions come from the store FEEDMILL_MODELS, and from the models that ship with feedmill.
    """


@models.command("list")
@click.argument("model", type=click.Choice(MODELS), required=False)
@json_option
@with_environment
def list_command(environment: Environment, model: str | None, as_json: bool) -> None:
    """List the versions in the store and which of them is in force; of a MODEL, its history too.

    In force is what workers are told to run: the version released last, else the one that ships.

    The history has every release and rollback, canary and version in shadow, with who did it and
    why.

    Without Kafka's answer the command fails: what is released stands on the topic `models`.
    """
    history = read_history(environment)
    rows = [
        row
        for name in ([model] if model else MODELS)
        for row in _versions(environment, history, name)
    ]
    if as_json:
        print_json(rows if model is None else _with_history(rows, history, model))
        return
    columns = ("model", "version", "trained", "state", "summary")
    print_table(columns, [tuple(str(row[name]) for name in columns) for row in rows])
    done = () if model is None else history.rows(model)
    if done:
        click.echo()
        print_table(
            ("offset>", "time", "what", "version", "by", "note"),
            [(str(o.offset), time_text(o.at_ms), o.what, _version(o), o.by, o.note) for o in done],
        )


def _version(row: HistoryRow) -> str:
    return row.version or (_SHIPPED if row.what == RELEASED else "")


def _versions(environment: Environment, history: ReleaseHistory, name: str) -> Iterator[Any]:
    shipped = shipped_store(name)
    released, in_force = history.current(name), sha256_in_force(history, name)
    challenger, canary = history.challenger(name).release, history.canaries.current(name)
    for card in cards_of(environment.models or shipped, name, shipped):
        states = ["in force"] if card.sha256 == in_force else []
        states += ["frozen"] if states and released is not None and released.frozen else []
        states += ["shipped" if card.sha256 == shipped_sha256(name) else "in the store"]
        states += ["shadow"] if challenger is not None and card.sha256 == challenger.sha256 else []
        if canary is not None and card.sha256 == canary.canary.sha256:
            states.append(f"canary (partitions: {canary.canary.partitions})")
        yield {
            "model": name,
            "version": card.version,
            "sha256": card.sha256,
            "trained": card.trained_on,
            "state": ", ".join(states),
            "summary": card.summary,
        }


def _with_history(rows: list[Any], history: ReleaseHistory, model: str) -> dict[str, Any]:
    """Return versions and releases of a model, and its whole history, canaries and shadows too."""
    releases = [
        {
            "offset": row.offset,
            "at_ms": row.at_ms,
            "version": _version(row),
            "by": row.by,
            "note": row.note,
            "frozen": row.what == FROZEN,
        }
        for row in history.rows(model)
        if row.what in (RELEASED, FROZEN)
    ]
    done = [dataclasses.asdict(row) for row in history.rows(model)]
    return {"versions": rows, "releases": releases, "history": done}


@models.command("show")
@model_argument
@click.argument("version", required=False)
@json_option
@with_environment
def show_command(environment: Environment, model: str, version: str | None, as_json: bool) -> None:
    """Show the card of a version, by default of the one in force."""
    card = chosen_card(environment, model, version)
    if as_json:
        print_json(msgspec.to_builtins(card))
    else:
        click.echo(card_page(card))


_COMMANDS = (
    diff,
    health,
    watch,
    release,
    rollback,
    freeze,
    unfreeze,
    shadow,
    compare,
    purge_command,
)
for command in _COMMANDS:
    models.add_command(command)
