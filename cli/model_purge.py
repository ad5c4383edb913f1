"""`feedmill models purge`: takes deleted posts out of the rows that trainings kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, plain_table, print_json
from feedmill.events.errors import UsageError
from feedmill.models.store_files import Store
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all


@click.command("purge")
@click.option("--post", "posts", multiple=True, metavar="ID", help="A post; may be repeated.")
@click.option("--deleted", is_flag=True, help="Every post that the topic posts says is deleted.")
@json_option
@with_environment
def purge_command(
    environment: Environment, posts: tuple[str, ...], deleted: bool, as_json: bool
) -> None:
    """Take posts out of the snapshots of the store FEEDMILL_MODELS.

    Each snapshot with one of the posts is written anew without them, the old file is removed, and
    the cards that name it say when and how many rows. The models stay: train again from the
    snapshots. Purge the files that you train from, too, or the next training keeps the post again.
    """
    store = _store(environment)
    if not posts and not deleted:
        raise UsageError("name posts with --post ID, or give --deleted")
    from feedmill.training.purge import deleted_posts, purge  # noqa: PLC0415 the `train` extra

    post_ids = set(posts)
    if deleted:
        post_ids |= deleted_posts(_records(environment))
    found = purge(store, post_ids, datetime.now(UTC).date().isoformat())
    if as_json:
        print_json([dict(zip(one._fields, one, strict=True)) for one in found])
    elif not found:
        click.echo(f"no snapshot of {store} has such a post")
    else:
        rows = [(p.before[:12], p.now[:12], f"{p.rows}", ", ".join(p.cards)) for p in found]
        click.echo(plain_table(("snapshot", "now", "rows purged>", "cards"), rows))


def _store(environment: Environment) -> Store:
    if environment.models is None:
        raise UsageError("purge needs FEEDMILL_MODELS, the store that `feedmill train` writes to")
    return environment.models


def _records(environment: Environment) -> Iterator[tuple[bytes | None, bytes | None]]:
    return ((record.key, record.value) for record in read_all(environment, "posts"))
