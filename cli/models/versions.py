"""`feedmill models list|show|purge`: the versions of models, and what commands share of them."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from feedmill.cli import flag, option
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, Table, show, table_of
from feedmill.events.errors import UsageError
from feedmill.models.cards import card_page
from feedmill.operations.releases import chosen_card, read_history, version_rows
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.loading import MODELS
from feedmill.streams.releases.release_log import FROZEN, RELEASED, HistoryRow

model_argument = click.argument("model", type=click.Choice(MODELS))


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
        row._asdict()
        for name in ([model] if model else MODELS)
        for row in version_rows(environment, history, name)
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


@click.command("show")
@model_argument
@click.argument("version", required=False)
@asks_installation
def show_command(environment: Environment, model: str, version: str | None) -> Answer:
    """Show the card of a version, by default of the one in force."""
    card = chosen_card(environment, model, version)
    return Answer(card, [card_page(card)])


@click.command("purge")
@option("--post ID", "A post; may be repeated.", name="posts", multiple=True)
@flag("--deleted", "Every post that the topic posts says is deleted.")
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
