"""`feedmill lists release|rollback|withdraw`: what changes the lists in force."""

from __future__ import annotations

import click
import msgspec

from feedmill.cli.answers import check_answers
from feedmill.cli.model_releases import note_option, send_record, teller, timeout_option
from feedmill.cli.options import by_option, user_name, with_environment
from feedmill.cli.output import json_option, print_json
from feedmill.events.errors import UsageError
from feedmill.events.release import ListRelease
from feedmill.filters.list_store import find_list_card, read_list
from feedmill.filters.registry import FILTERS
from feedmill.models.store_files import Store
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.list_history import ListHistory
from feedmill.streams.releases.release_log import TOPIC, ListKey
from feedmill.streams.settings.environment import Environment

filter_argument = click.argument("filter_name", metavar="FILTER", type=click.Choice(list(FILTERS)))


@click.command("release")
@filter_argument
@click.argument("name")
@click.argument("version", required=False)
@by_option
@note_option
@timeout_option
@json_option
@with_environment
def release(
    environment: Environment,
    filter_name: str,
    name: str,
    version: str | None,
    by: str | None,
    note: str,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Have every worker of FILTER decide by a list, and wait until each does or refuses.

    The VERSION may be left out where the store has only one of the list. Each worker needs the
    artifact in its own store. Posts of the last week follow, as they follow a rule.
    """
    store = store_of_lists(environment)
    card = find_list_card(store, filter_name, name, version)
    read_list(store, filter_name, name, card.sha256)
    wanted = ListRelease(card.sha256, by or user_name(), note)
    _send_and_wait(environment, ListKey(filter_name, name), wanted, timeout_s, as_json=as_json)


@click.command("rollback")
@filter_argument
@click.argument("name")
@by_option
@timeout_option
@json_option
@with_environment
def rollback(
    environment: Environment,
    filter_name: str,
    name: str,
    by: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Release the version before the last one again; withdraw the list if there was none."""
    key = ListKey(filter_name, name)
    target = ListHistory(read_all(environment, TOPIC)).rollback_target(key)
    if target is not None:
        target = msgspec.structs.replace(target, by=by or user_name(), note="rollback")
    _send_and_wait(environment, key, target, timeout_s, as_json=as_json)


@click.command("withdraw")
@filter_argument
@click.argument("name")
@timeout_option
@json_option
@with_environment
def withdraw(
    environment: Environment, filter_name: str, name: str, timeout_s: float, as_json: bool
) -> None:
    """End a list: what it decided gets the verdict that it overruled."""
    key = ListKey(filter_name, name)
    if key not in ListHistory(read_all(environment, TOPIC)).in_force():
        raise UsageError(f"`{key.key}` is not in force; `feedmill lists list` shows what is")
    _send_and_wait(environment, key, None, timeout_s, as_json=as_json)


def store_of_lists(environment: Environment) -> Store:
    """Return the store of lists; `UsageError` where none is named: feedmill ships no lists."""
    if environment.models is None:
        raise UsageError("lists need a store of your own; set FEEDMILL_MODELS")
    return environment.models


def _send_and_wait(
    environment: Environment,
    key: ListKey,
    wanted: ListRelease | None,
    timeout_s: float,
    *,
    as_json: bool,
) -> None:
    what = "withdrawn" if wanted is None else f"{wanted.version} released"
    done, tell = f"{key.key}: {what}", teller(as_json)
    offset, answers = send_record(environment, key.key, key.filter, wanted, done, timeout_s, tell)
    if as_json:
        version = None if wanted is None else wanted.version
        found = [answer.as_dict() for answer in answers]
        print_json({"list": key.key, "version": version, "offset": offset, "instances": found})
    otherwise = "they follow when they can; `feedmill lists list` shows what is released"
    check_answers(answers, timeout_s, "the release", otherwise)
