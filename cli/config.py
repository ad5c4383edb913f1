"""`feedmill config get|set|history|rollback`: the settings, which stages follow as they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from feedmill.cli.change_options import ChangeOptions, note_option, with_setting_change
from feedmill.cli.options import by_option, with_environment
from feedmill.cli.output import json_option, print_json, print_table, short_json, time_text
from feedmill.cli.setting_change import change_setting, read_settings_log
from feedmill.cli.setting_value import parse_setting_value
from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.settings.config_log import ConfigEntry, ConfigLog, RawValue, effective_value


@click.group()
def config() -> None:
    """Read and change the settings that every stage follows while it runs."""


@config.command("get")
@click.argument("key", required=False)
@json_option
@with_environment
def get_command(environment: Environment, key: str | None, as_json: bool) -> None:
    """Show one setting or all: the values in force, and what was written.

    KEY is weights, weights/<feed>, gates, gates/<feed>, feeds/<name>, rules/<filter> or
    experiments/<name>.
    """
    log = read_settings_log(environment)
    keys = [key] if key else _keys_to_show(log)
    settings = [_setting_as_dict(log, name) for name in keys]
    if as_json:
        print_json(settings[0] if key else settings)
        return
    for setting in settings:
        click.echo(_heading(setting))
        rows = _field_rows(setting["effective"], setting["value"] or {})
        print_table(("field", "effective", "written"), rows)
        click.echo()


def _keys_to_show(log: ConfigLog) -> list[str]:
    built_in = ("weights", "gates", "feeds/global")
    return [*built_in, *sorted(key for key in log.settings.offsets if key not in built_in)]


def _setting_as_dict(log: ConfigLog, key: str) -> dict[str, Any]:
    not_set = ConfigEntry(-1, 0, key, None, None, None, None, None)
    entry = log.current(key)
    fields = (entry or not_set).as_dict()
    return {
        "key": key,
        "effective": effective_value(log.settings, key),
        "value": fields["value"],
        "offset": fields["offset"],
        "by": fields["by"],
        "note": fields["note"],
        "at_ms": None if entry is None else entry.at_ms,
    }


def _heading(setting: Mapping[str, Any]) -> str:
    if setting["offset"] < 0:
        return f"{setting['key']}: not set, these values are in force:"
    by = f" by {setting['by']}" if setting["by"] else ""
    note = f": {setting['note']}" if setting["note"] else ""
    return f"{setting['key']}: offset {setting['offset']}, {time_text(setting['at_ms'])}{by}{note}"


def _field_rows(
    effective: RawValue, written: RawValue, path: str = ""
) -> list[tuple[str, str, str]]:
    """A row per field, fields of objects by their path: effective value, written value."""
    rows: list[tuple[str, str, str]] = []
    for name, value in effective.items():
        own = written.get(name)
        if isinstance(value, dict):
            rows += _field_rows(value, own if isinstance(own, dict) else {}, f"{path}{name}.")
        else:
            rows.append(
                (path + name, short_json(value), short_json(own) if name in written else "")
            )
    return rows


@config.command("history")
@click.argument("key", required=False)
@json_option
@with_environment
def history_command(environment: Environment, key: str | None, as_json: bool) -> None:
    """List what was written, oldest first, and whether it was applied or refused."""
    log = read_settings_log(environment)
    entries = log.history(key)
    if key and not entries:
        # Refuses a key that no setting has.
        effective_value(log.settings, key)
    if as_json:
        print_json([entry.as_dict() for entry in entries])
    elif not entries:
        click.echo("nothing was written" + (f" under `{key}`" if key else ""))
    else:
        columns = ("offset>", "time", "key", "by", "value", "note", "outcome")
        print_table(columns, [_history_row(entry) for entry in entries])


def _history_row(entry: ConfigEntry) -> tuple[str, ...]:
    removed = entry.value is None and entry.applied
    return (
        str(entry.offset),
        time_text(entry.at_ms),
        entry.key,
        entry.by or "",
        "(removed)" if removed else short_json(entry.value),
        entry.note or "",
        "applied" if entry.applied else f"refused: {entry.refusal}",
    )


@config.command("set")
@click.argument("key")
@click.argument("value", nargs=-1, required=True)
@click.option(
    "--if-offset",
    type=int,
    metavar="OFFSET",
    help="Refuse the change unless the setting's last applied record has this offset; -1: none.",
)
@click.option("--force", is_flag=True, help="Send even what this version would refuse.")
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
    try:
        new_value = parse_setting_value(log, key, value)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    change_setting(environment, log, key, new_value, change, if_offset=if_offset, is_forced=force)


@config.command("rollback")
@click.argument("key")
@click.option(
    "--to", type=int, metavar="OFFSET", help="Go back to the record at this offset instead."
)
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
