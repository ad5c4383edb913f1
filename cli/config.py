"""`feedmill config get|set|history|rollback`: the settings, which stages follow as they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click

from feedmill.cli import flag, option
from feedmill.cli.awaited_change import (
    ChangeOptions,
    change_setting,
    with_setting_change,
    words_checked,
)
from feedmill.cli.options import asks_installation, by_option, note_option
from feedmill.cli.output import Answer, Columns, Table, short_json, show
from feedmill.operations.setting_changes import parse_setting_value, read_settings_log
from feedmill.operations.times import time_text
from feedmill.streams.environment import Environment
from feedmill.streams.settings.config_log import ConfigLog, RawValue, effective_value


@click.group()
def config() -> None:
    """Read and change the settings that every stage follows while it runs."""


@config.command("get")
@click.argument("key", required=False)
@asks_installation
def get_command(environment: Environment, key: str | None) -> Answer:
    """Show one setting or all: the values in force, and what was written.

    KEY is weights, weights/<feed>, gates, gates/<feed>, feeds/<name>, rules/<filter>,
    experiments/<name>, readers/<feed> or rates.
    """
    log = read_settings_log(environment)
    built_in = ("weights", "gates", "feeds/global")
    others = sorted(name for name in log.settings.offsets if name not in built_in)
    settings = [_setting(log, name) for name in ([key] if key else [*built_in, *others])]
    lines = (line for setting in settings for line in _setting_lines(setting))
    return Answer(settings[0] if key else settings, lines)


def _setting(log: ConfigLog, key: str) -> dict[str, Any]:
    entry = log.current(key)
    return {
        "key": key,
        "effective": effective_value(log.settings, key),
        "value": None if entry is None else entry.value,
        "offset": -1 if entry is None else entry.offset,
        "by": None if entry is None else entry.by,
        "note": None if entry is None else entry.note,
        "at_ms": None if entry is None else entry.at_ms,
    }


def _setting_lines(setting: dict[str, Any]) -> Iterator[str | Table]:
    key, offset, by, note = (setting[name] for name in ("key", "offset", "by", "note"))
    if offset < 0:
        yield f"{key}: not set, these values are in force:"
    else:
        who = (f" by {by}" if by else "") + (f": {note}" if note else "")
        yield f"{key}: offset {offset}, {time_text(setting['at_ms'])}{who}"
    rows = _field_rows(setting["effective"], setting["value"] or {})
    yield Table(("field", "effective", "written"), [*rows])
    yield ""


def _field_rows(
    effective: RawValue, written: RawValue, path: str = ""
) -> Iterator[tuple[str, str, str]]:
    """A row per field, fields of objects by their path: effective value, written value."""
    for name, value in effective.items():
        own = written.get(name)
        if isinstance(value, dict):
            yield from _field_rows(value, own if isinstance(own, dict) else {}, f"{path}{name}.")
        else:
            yield path + name, short_json(value), short_json(own) if name in written else ""


@config.command("history")
@click.argument("key", required=False)
@asks_installation
def history_command(environment: Environment, key: str | None) -> Answer:
    """List what was written, oldest first, and whether it was applied or refused."""
    log = read_settings_log(environment)
    entries = log.history(key)
    if key and not entries:
        # Refuses a key that no setting has.
        effective_value(log.settings, key)
    empty = "nothing was written" + (f" under `{key}`" if key else "")
    return show([entry.as_dict() for entry in entries], _HISTORY_COLUMNS, empty=empty)


_HISTORY_COLUMNS: Columns = {
    "offset>": "offset",
    "time": "at_ms:time",
    "key": "key",
    "by": "by",
    "value": lambda entry: (
        "(removed)" if entry["value"] is None and entry["applied"] else short_json(entry["value"])
    ),
    "note": "note",
    "outcome": lambda entry: "applied" if entry["applied"] else f"refused: {entry['reason']}",
}


@config.command("set")
@click.argument("key")
@click.argument("value", nargs=-1, required=True)
@option(
    "--if-offset OFFSET",
    "Refuse the change unless the setting's last applied record has this offset; -1: none.",
    int,
)
@flag("--force", "Send even what this version would refuse.")
@with_setting_change(by_option, note_option)
def set_command(
    environment: Environment,
    change: ChangeOptions,
    key: str,
    value: tuple[str, ...],
    if_offset: int | None,
    force: bool,
) -> None:
    """Change a setting, and wait until every running instance has applied or refused it.

    VALUE is either JSON, which replaces the whole setting (`null` removes it), or pairs, which
    change only the fields they name: `alpha=0.2 beta=0.8`, `scale.engagement=10`,
    `spam.hide_at=0.8`. Under `rules/<filter>`, `bad-links.verdict=hide` changes one rule and
    `bad-links=null` removes it.
    """
    log = read_settings_log(environment)
    with words_checked():
        new_value = parse_setting_value(log, key, value)
    change_setting(environment, log, key, new_value, change, if_offset=if_offset, is_forced=force)


@config.command("rollback")
@click.argument("key")
@option("--to OFFSET", "Go back to the record at this offset instead.", int)
@with_setting_change(by_option)
def rollback_command(
    environment: Environment, change: ChangeOptions, key: str, to: int | None
) -> None:
    """Write the previous value of a setting again.

    A setting that had no value before is removed, so that it inherits again.
    """
    log = read_settings_log(environment)
    target = log.rollback_target(key, to)
    value = None if target is None else target.value
    note = f"rollback to {'no value' if target is None else target.offset}"
    said = f"restores {short_json(value)}" if value else f"removes `{key}`, which inherits again"
    change.tell(said)
    change_setting(environment, log, key, value, replace(change, note=note))
