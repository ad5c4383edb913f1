"""`feedmill config get|set|history|rollback`: the settings, which stages follow as they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from feedmill.cli.answers import answer_line, check_answers, instances_topic
from feedmill.cli.change_options import timeout_option
from feedmill.cli.gates import warn_of_gates
from feedmill.cli.made_by import made_by
from feedmill.cli.options import by_option, with_environment
from feedmill.cli.output import json_option, print_json, print_table, short_json, time_text
from feedmill.cli.setting_value import parse_setting_value
from feedmill.events.errors import BadSetting, UsageError
from feedmill.operations.changes import Change, MadeBy, write_change
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.config_log import (
    ConfigEntry,
    ConfigLog,
    RawValue,
    effective_value,
    encode_record,
    fold_log,
)
from feedmill.streams.settings.environment import Environment
from feedmill.streams.settings.instances import (
    RECENT_MS,
    SettingAnswer,
    read_recent_instances,
    setting_answers,
)

_timeout_option = timeout_option(15.0)


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
    log = _read_log(environment)
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
    log = _read_log(environment)
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
@by_option
@click.option("--note", metavar="TEXT", help="Why.")
@click.option(
    "--if-offset",
    type=int,
    metavar="OFFSET",
    help="Refuse the change unless the setting's last applied record has this offset; -1: none.",
)
@click.option("--force", is_flag=True, help="Send even what this version would refuse.")
@_timeout_option
@json_option
@with_environment
def set_command(
    environment: Environment,
    key: str,
    value: tuple[str, ...],
    by: str | None,
    note: str | None,
    if_offset: int | None,
    force: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Change a setting, and wait until every running instance has applied or refused it.

    VALUE is either JSON, which replaces the whole setting (`null` removes it), or pairs, which
    change only the fields they name: `alpha=0.2 beta=0.8`, `scale.engagement=10`,
    `spam.hide_at=0.8`. Under `rules/<filter>`, `bad-links.verdict=hide` changes one rule and
    `bad-links=null` removes it.
    """
    log = _read_log(environment)
    try:
        new_value = parse_setting_value(log, key, value)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    if if_offset is None:
        if_offset = log.settings.offsets.get(key, -1)
    who = made_by(by, note)
    record = encode_record(new_value, by=who.by, note=note, if_offset=if_offset)
    change = SettingChange(key, record, _record_in_force(log, key), who, timeout_s, as_json)
    if not force:
        _check_applies(log, change)
    _send_and_wait(environment, change)


@config.command("rollback")
@click.argument("key")
@click.option(
    "--to", type=int, metavar="OFFSET", help="Go back to the record at this offset instead."
)
@by_option
@_timeout_option
@json_option
@with_environment
def rollback_command(
    environment: Environment,
    key: str,
    to: int | None,
    by: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write the previous value of a setting again.

    A setting that had no value before is removed, so that it inherits again.
    """
    log = _read_log(environment)
    target = log.rollback_target(key, to)
    who = made_by(by, f"rollback to {'no value' if target is None else target.offset}")
    record = encode_record(
        None if target is None else target.value,
        by=who.by,
        note=who.note,
        if_offset=log.settings.offsets.get(key, -1),
    )
    change = SettingChange(key, record, _record_in_force(log, key), who, timeout_s, as_json)
    _check_applies(log, change)
    _send_and_wait(environment, change)


class SettingChange(NamedTuple):
    """A record to write to `config`, and how to report what the instances do with it.

    `before` is the record in force.
    """

    key: str
    record: bytes
    before: bytes | None
    made_by: MadeBy
    timeout_s: float
    as_json: bool


def _check_applies(log: ConfigLog, change: SettingChange) -> None:
    settings = log.settings
    try:
        settings = settings.fold(change.key.encode(), change.record, settings.offset + 1)
    except BadSetting as error:
        raise BadSetting(f"refused, nothing was sent: {error}") from None
    kind, _, feed = change.key.partition("/")
    if kind == "gates":
        # The feeds that set some gates of their own inherit the others.
        for name in [feed] if feed else sorted({"", *settings.gates}):
            warn_of_gates(name, settings.gates_of(name))


def _send_and_wait(environment: Environment, change: SettingChange) -> None:
    with instances_topic(environment, change.timeout_s) as reader:
        written = Change("config", change.key, change.record, change.before)
        offset, at_ms = write_change(environment, change.made_by, written)
        instances = {} if reader is None else read_recent_instances(reader, at_ms)
        if not change.as_json:
            click.echo(f"`{change.key}` written at offset {offset}")
            if reader is not None and not instances:
                click.echo(
                    f"no instance has reported in the last {RECENT_MS / 1000:.0f} s; instances"
                    " apply it when they start"
                )
        answers: list[SettingAnswer] = []
        if reader is not None:
            for answer in setting_answers(reader, instances, offset, change.timeout_s):
                answers.append(answer)
                if not change.as_json:
                    click.echo(answer_line(answer))
    if change.as_json:
        as_dicts = [answer.as_dict() for answer in answers]
        print_json({"key": change.key, "offset": offset, "instances": as_dicts})
    check_answers(
        answers,
        change.timeout_s,
        "the setting",
        "see the log there, the setting is applied once it reads `config` again",
    )


def _record_in_force(log: ConfigLog, key: str) -> bytes | None:
    entry = log.current(key)
    return None if entry is None else entry.record


def _read_log(environment: Environment) -> ConfigLog:
    return fold_log(read_all(environment, "config"), environment.signals)
