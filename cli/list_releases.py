"""`feedmill lists release|rollback|withdraw`: what changes the lists in force."""

from __future__ import annotations

from dataclasses import replace

import click
import msgspec

from feedmill.cli.answers import check_answers
from feedmill.cli.change_options import ChangeOptions, with_named_change, with_noted_change
from feedmill.cli.model_releases import pending_text, send_record
from feedmill.cli.output import print_json
from feedmill.events.errors import UsageError
from feedmill.events.release import ListRelease
from feedmill.filters.list_store import find_list_card, read_list
from feedmill.filters.registry import FILTERS
from feedmill.models.store_files import Store
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.release_log import TOPIC, ListHistory, ListKey

filter_argument = click.argument("filter_name", metavar="FILTER", type=click.Choice(list(FILTERS)))


@click.command("release")
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
    store = store_of_lists(environment)
    card = find_list_card(store, filter_name, name, version)
    read_list(store, filter_name, name, card.sha256)
    wanted = ListRelease(card.sha256, change.by, change.note)
    _send_and_wait(environment, change, ListKey(filter_name, name), wanted)


@click.command("rollback")
@filter_argument
@click.argument("name")
@with_named_change
def rollback(environment: Environment, change: ChangeOptions, filter_name: str, name: str) -> None:
    """Release the version before the last one again; withdraw the list if there was none."""
    key = ListKey(filter_name, name)
    target = ListHistory(read_all(environment, TOPIC)).rollback_target(key)
    if target is not None:
        target = msgspec.structs.replace(target, by=change.by, note="rollback")
    _send_and_wait(environment, replace(change, note="rollback"), key, target)


@click.command("withdraw")
@filter_argument
@click.argument("name")
@with_noted_change
def withdraw(environment: Environment, change: ChangeOptions, filter_name: str, name: str) -> None:
    """End a list: what it decided gets the verdict that it overruled."""
    key = ListKey(filter_name, name)
    if key not in ListHistory(read_all(environment, TOPIC)).in_force():
        raise UsageError(f"`{key}` is not in force; `feedmill lists list` shows what is")
    _send_and_wait(environment, change, key, None)


def store_of_lists(environment: Environment) -> Store:
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
    offset, answers = send_record(
        environment,
        str(key),
        key.filter,
        wanted,
        f"{key}: {what}",
        change.timeout_s,
        change.tell,
        change.made_by,
    )
    if change.as_json:
        version = None if wanted is None else wanted.version
        found = [answer.as_dict() for answer in answers]
        print_json({"list": str(key), "version": version, "offset": offset, "instances": found})
    otherwise = "they follow when they can; `feedmill lists list` shows what is released"
    pending = "" if wanted is None else pending_text(f"lists rollback {key.filter} {key.name}")
    check_answers(answers, change.timeout_s, "the release", otherwise, pending)
