"""`feedmill models list|show|purge`: the versions of models, and what commands share of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, Table, show, table_of
from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard
from feedmill.models.cards import card_page
from feedmill.models.store import cards_of, find_card
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.loading import MODELS, shipped_sha256, shipped_store
from feedmill.streams.releases.release_log import (
    FROZEN,
    RELEASED,
    TOPIC,
    HistoryRow,
    ReleaseHistory,
)

model_argument = click.argument("model", type=click.Choice(MODELS))


def read_history(environment: Environment) -> ReleaseHistory:
    """Return what was released, by the whole topic `models`; raises what `open_topic` raises."""
    return ReleaseHistory(MODELS, read_all(environment, TOPIC))


def sha256_in_force(history: ReleaseHistory, model: str) -> str:
    """Return the version that workers are told to run: the released one, else the shipped one."""
    release = history.current(model)
    return shipped_sha256(model) if release is None else release.sha256


def chosen_card(environment: Environment, model: str, version: str | None) -> ModelCard:
    """Return the card of a version, of the one in force if None; `shipped` is a version, too."""
    shipped = shipped_store(model)
    store = environment.models or shipped
    if version == "shipped":
        version = shipped_sha256(model)
    elif version is None:
        version = sha256_in_force(read_history(environment), model)
    return find_card(store, model, version, shipped)


@click.command("list")
@click.argument("model", type=click.Choice(MODELS), required=False)
@asks_installation
def list_command(environment: Environment, model: str | None) -> Answer:
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
    lines: list[str | Table] = [table_of(rows, {name: name for name in _SHOWN})]
    if model is None:
        return Answer(rows, lines)
    done = history.rows(model)
    releases = [
        {
            "offset": row.offset,
            "at_ms": row.at_ms,
            "version": _version(row),
            "by": row.by,
            "note": row.note,
            "frozen": row.what == FROZEN,
        }
        for row in done
        if row.what in (RELEASED, FROZEN)
    ]
    if done:
        lines += ["", table_of(done, _HISTORY_COLUMNS)]
    return Answer({"versions": rows, "releases": releases, "history": done}, lines)


_SHOWN = ("model", "version", "trained", "state", "summary")


def _version(row: HistoryRow) -> str:
    return row.version or ("(shipped)" if row.what == RELEASED else "")


_HISTORY_COLUMNS: Columns = {
    "offset>": "offset",
    "time": "at_ms:time",
    "what": "what",
    "version": _version,
    "by": "by",
    "note": "note",
}


def _versions(environment: Environment, history: ReleaseHistory, name: str) -> Iterator[Any]:
    shipped = shipped_store(name)
    released, in_force = history.current(name), sha256_in_force(history, name)
    challenger, canary = history.challenger(name).release, history.canaries.current(name)
    is_here = False
    for card in cards_of(environment.models or shipped, name, shipped):
        states = ["in force"] if card.sha256 == in_force else []
        is_here = is_here or card.sha256 == in_force
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
    if not is_here:
        yield {
            "model": name,
            "version": in_force[:12],
            "sha256": in_force,
            "trained": "",
            "state": "in force, not in this store",
            "summary": "name the store of the workers: FEEDMILL_MODELS",
        }


@click.command("show")
@model_argument
@click.argument("version", required=False)
@asks_installation
def show_command(environment: Environment, model: str, version: str | None) -> Answer:
    """Show the card of a version, by default of the one in force."""
    card = chosen_card(environment, model, version)
    return Answer(card, [card_page(card)])


@click.command("purge")
@click.option("--post", "posts", multiple=True, metavar="ID", help="A post; may be repeated.")
@click.option("--deleted", is_flag=True, help="Every post that the topic posts says is deleted.")
@asks_installation
def purge_command(environment: Environment, posts: tuple[str, ...], deleted: bool) -> Answer:
    """Take posts out of the snapshots of the store FEEDMILL_MODELS.

    Each snapshot with one of the posts is written anew without them, the old file is removed, and
    the cards that name it say when and how many rows. The models stay: train again from the
    snapshots. Purge the files that you train from, too, or the next training keeps the post again.
    """
    store = environment.models
    if store is None:
        raise UsageError("purge needs FEEDMILL_MODELS, the store that `feedmill train` writes to")
    if not posts and not deleted:
        raise UsageError("name posts with --post ID, or give --deleted")
    from feedmill.training.purge import deleted_posts, purge  # noqa: PLC0415 the `train` extra

    post_ids = set(posts)
    if deleted:
        records = read_all(environment, "posts")
        post_ids |= deleted_posts((record.key, record.value) for record in records)
    found = purge(store, post_ids, datetime.now(UTC).date().isoformat())
    return show(found, _PURGED_COLUMNS, empty=f"no snapshot of {store} has such a post")


_PURGED_COLUMNS: Columns = {
    "snapshot": lambda purged: purged.before[:12],
    "now": lambda purged: purged.now[:12],
    "rows purged>": "rows",
    "cards": "cards",
}
