"""`feedmill lists`: lists of domains, phrases, media and authors, as artifacts and released.

What changes the lists in force is in `list_releases.py`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from feedmill.cli.list_releases import release, rollback, store_of_lists, withdraw
from feedmill.cli.options import StoreType, with_environment
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.cli.progress import long_work
from feedmill.events.limits import NAME_PATTERN
from feedmill.events.rules import RuleAction
from feedmill.filters import list_store
from feedmill.filters.lists import KINDS, ListKind
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import sha256_of
from feedmill.models.store_files import Store
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.release_log import TOPIC, ListHistory, ListKey


class _NameType(click.ParamType):
    """The name of a list."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.match(NAME_PATTERN, value):
            self.fail(f"{value!r} is not 1 to 64 letters, digits, `.`, `_` and `-`.", param, ctx)
        return str(value)


@click.group()
def lists() -> None:
    """Release lists of domains, phrases, media and authors, of up to five million entries each.

    A list belongs to a filter and has a verdict, as a rule has one. Rules beat lists. Lists come
    from the store FEEDMILL_MODELS.
    """


@lists.command("build")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--filter", "filter_name", type=click.Choice(list(FILTERS)), required=True,
              help="Whose list it is.")  # fmt: skip
@click.option("--name", type=_NameType(), required=True, help="What it is called there.")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What its lines are.")
@click.option("--verdict", type=click.Choice(get_args(RuleAction)), required=True,
              help="What happens to a post that has an entry.")  # fmt: skip
@click.option("--source", required=True, metavar="TEXT", help="Where the entries are from.")
@click.option("--licence", required=True, metavar="TEXT", help="What may be done with them.")
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), required=True, metavar="DATE",
              help="The day that they are of.")  # fmt: skip
@click.option("--out", type=StoreType(), metavar="STORE", help="The store.  [FEEDMILL_MODELS]")
@click.option("--skip-bad", is_flag=True, help="Leave wrong lines out, and name them.")
@json_option
@with_environment
def build(
    *,
    environment: Environment,
    file: Path,
    filter_name: str,
    name: str,
    kind: ListKind,
    verdict: RuleAction,
    source: str,
    licence: str,
    day: datetime.datetime,
    out: Store | None,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Make an artifact of FILE, with an entry on each line, and save it into a store.

    Empty lines and those that begin with # are left out. Wrong lines are named, and nothing is
    saved then, unless --skip-bad leaves them out. Domains include their subdomains; media are named
    by their sha256. The same entries give the same version. A phrase is found as a rule finds it,
    and has up to 200 characters and 32 words.
    """
    store = store_of_lists(environment) if out is None else out
    skipped = list_store.WrongLines() if skip_bad else None
    with long_work(f"building list {filter_name}/{name}", "the store is as it was") as work:
        tell = partial(work.tell, f"bytes of {file}")
        entries = list_store.read_entries(file, kind, skipped, tell)
        work.tell(f"packing {len(entries.digests):,} entries")
        content = list_store.pack_list(filter_name, name, kind, verdict, entries)
    if skipped is not None and skipped.count:
        click.echo(f"left out: {skipped.text()}", err=True)
    card = list_store.ListCard(
        name=name,
        filter=filter_name,
        kind=kind,
        verdict=verdict,
        entries=len(entries.digests),
        sha256=sha256_of(content),
        source=source,
        licence=licence,
        date=day.date().isoformat(),
    )
    list_store.save_list(store, card, content)
    if as_json:
        print_json({**msgspec.to_builtins(card), "version": card.version})
        return
    click.echo(f"list {filter_name}/{name} {card.version}: {card.entries:,} {kind} in {store}")
    click.echo(f"`feedmill lists release {filter_name} {name} {card.version}` releases it")


@lists.command("list")
@json_option
@with_environment
def list_command(environment: Environment, as_json: bool) -> None:
    """List the versions in the store with source, licence and date, and which are in force."""
    history = ListHistory(read_all(environment, TOPIC))
    rows = list(_rows(list_store.list_cards(store_of_lists(environment)), history))
    if as_json:
        print_json(rows)
        return
    columns = ("filter", "name", "version", "state", "kind", "verdict", "entries>", "date",
               "source", "licence")  # fmt: skip
    print_table(columns, [tuple(str(row[c.rstrip(">")]) for c in columns) for row in rows])


def _rows(cards: list[list_store.ListCard], history: ListHistory) -> Iterator[dict[str, Any]]:
    in_force = history.in_force()
    for card in cards:
        key = ListKey(card.filter, card.name)
        holds = key in in_force and in_force[key].sha256 == card.sha256
        if holds:
            del in_force[key]
        state = "in force" if holds else ""
        yield {**msgspec.to_builtins(card), "version": card.version, "state": state}
    # What is released, and is not in this store.
    nothing = dict.fromkeys(("kind", "verdict", "entries", "date", "source", "licence"), "")
    for key, released in in_force.items():
        own = {"filter": key.filter, "name": key.name, "sha256": released.sha256}
        yield {**nothing, **own, "version": released.version, "state": "in force, not here"}


for command in (release, rollback, withdraw):
    lists.add_command(command)
