"""`feedmill lists`: lists of domains, phrases, media and authors, as artifacts and released."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from feedmill.cli import flag, option
from feedmill.cli.awaited_change import ChangeOptions, with_named_change, with_noted_change
from feedmill.cli.models.releases import send_record
from feedmill.cli.options import StoreType, asks_installation
from feedmill.cli.output import Answer, show, warn
from feedmill.cli.progress import long_work
from feedmill.events.errors import UsageError
from feedmill.events.limits import NAME_PATTERN
from feedmill.events.release import ListRelease
from feedmill.events.rules import RuleAction
from feedmill.filters.list_store import (
    ListCard,
    WrongLines,
    find_list_card,
    list_cards,
    pack_list,
    read_entries,
    read_list,
    save_list,
)
from feedmill.filters.lists import KINDS, ListKind
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import sha256_of
from feedmill.models.store_files import Store
from feedmill.operations.releases import pending_text, read_history
from feedmill.streams.environment import Environment
from feedmill.streams.releases.release_log import ListKey, ReleaseFold


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
@option(
    "--filter", "Whose list it is.", click.Choice(list(FILTERS)), name="filter_name", required=True
)
@option("--name", "What it is called there.", _NameType(), required=True)
@option("--kind", "What its lines are.", click.Choice(KINDS), required=True)
@option(
    "--verdict",
    "What happens to a post that has an entry.",
    click.Choice(get_args(RuleAction)),
    required=True,
)
@option("--source TEXT", "Where the entries are from.", required=True)
@option("--licence TEXT", "What may be done with them.", required=True)
@option(
    "--date DATE",
    "The day that they are of.",
    click.DateTime(["%Y-%m-%d"]),
    name="day",
    required=True,
)
@option("--out STORE", "The store.  [FEEDMILL_MODELS]", StoreType())
@flag("--skip-bad", "Leave wrong lines out, and name them.")
@asks_installation
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
) -> Answer:
    """Make an artifact of FILE, with an entry on each line, and save it into a store.

    Empty lines and those that begin with # are left out. Wrong lines are named, and nothing is
    saved then, unless --skip-bad leaves them out. Domains include their subdomains; media are named
    by their sha256. The same entries give the same version. A phrase is found as a rule finds it,
    and has up to 200 characters and 32 words.
    """
    store = _store_of_lists(environment) if out is None else out
    skipped = WrongLines() if skip_bad else None
    with long_work(f"building list {filter_name}/{name}", "the store is as it was") as work:
        entries = read_entries(file, kind, skipped, partial(work.tell, f"bytes of {file}"))
        work.tell(f"packing {len(entries.digests):,} entries")
        content = pack_list(filter_name, name, kind, verdict, entries)
    if skipped is not None and skipped.count:
        warn(f"left out: {skipped.text()}")
    card = ListCard(
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
    save_list(store, card, content)
    lines = (
        f"list {filter_name}/{name} {card.version}: {card.entries:,} {kind} in {store}",
        f"`feedmill lists release {filter_name} {name} {card.version}` releases it",
    )
    return Answer({**msgspec.to_builtins(card), "version": card.version}, lines)


@lists.command("list")
@asks_installation
def list_command(environment: Environment) -> Answer:
    """List the versions in the store with source, licence and date, and which are in force."""
    history = read_history(environment)
    rows = list(_rows(list_cards(_store_of_lists(environment)), history))
    names = ("filter", "name", "version", "state", "kind", "verdict", "entries>", "date", "source",
             "licence")  # fmt: skip
    return show(rows, {name: name.rstrip(">") for name in names})


def _rows(cards: list[ListCard], history: ReleaseFold) -> Iterator[dict[str, Any]]:
    in_force = history.lists_in_force()
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


filter_argument = click.argument("filter_name", metavar="FILTER", type=click.Choice(list(FILTERS)))


@lists.command("release")
@filter_argument
@click.argument("name")
@click.argument("version", required=False)
@with_noted_change
def release(
    environment: Environment,
    change: ChangeOptions,
    filter_name: str,
    name: str,
    version: str | None,
) -> None:
    """Have every worker of FILTER decide by a list, and wait until each does or refuses.

    The VERSION may be left out where the store has only one of the list. Each worker needs the
    artifact in its own store. Posts of the last week follow, as they follow a rule.
    """
    store = _store_of_lists(environment)
    card = find_list_card(store, filter_name, name, version)
    read_list(store, filter_name, name, card.sha256)
    wanted = ListRelease(card.sha256, change.by, change.note)
    _send_and_wait(environment, change, ListKey(filter_name, name), wanted)


@lists.command("rollback")
@filter_argument
@click.argument("name")
@with_named_change
def rollback(environment: Environment, change: ChangeOptions, filter_name: str, name: str) -> None:
    """Release the version before the last one again; withdraw the list if there was none."""
    key = ListKey(filter_name, name)
    target = read_history(environment).list_rollback_target(key)
    if target is not None:
        target = msgspec.structs.replace(target, by=change.by, note="rollback")
    _send_and_wait(environment, replace(change, note="rollback"), key, target)


@lists.command("withdraw")
@filter_argument
@click.argument("name")
@with_noted_change
def withdraw(environment: Environment, change: ChangeOptions, filter_name: str, name: str) -> None:
    """End a list: what it decided gets the verdict that it overruled."""
    key = ListKey(filter_name, name)
    if key not in read_history(environment).lists_in_force():
        raise UsageError(f"`{key}` is not in force; `feedmill lists list` shows what is")
    _send_and_wait(environment, change, key, None)


def _store_of_lists(environment: Environment) -> Store:
    """Return the store of lists; `UsageError` where none is named: feedmill ships no lists."""
    if environment.models is None:
        raise UsageError(
            "lists need a store of your own, which the workers read, too: set FEEDMILL_MODELS, such"
            " as `export FEEDMILL_MODELS=models`"
        )
    return environment.models


def _send_and_wait(
    environment: Environment, change: ChangeOptions, key: ListKey, wanted: ListRelease | None
) -> None:
    what = "withdrawn" if wanted is None else f"{wanted.version} released"
    done = f"{key}: {what}"
    offset, given = send_record(environment, change, str(key), key.filter, wanted, done)
    version = None if wanted is None else wanted.version
    found = {"list": str(key), "version": version, "offset": offset}
    otherwise = "they follow when they can; `feedmill lists list` shows what is released"
    pending = "" if wanted is None else pending_text(f"lists rollback {key.filter} {key.name}")
    change.report(found, given, "the release", otherwise, pending)
