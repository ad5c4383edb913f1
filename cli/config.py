"""`feedmill config get|set|history|rollback`: the settings, while everything runs."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import click

from feedmill.cli.options import with_environment
from feedmill.cli.output import print_json, print_table, short_json, time_text
from feedmill.events.errors import BadSetting, FeedmillError, UsageError
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic, read_all, send
from feedmill.streams.settings.config_log import (
    ConfigLog,
    RawValue,
    effective,
    fold_log,
    new_value,
    record_value,
)
from feedmill.streams.settings.environment import Environment
from feedmill.streams.settings.instances import SettingAnswer, answers, living_now

as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
by_option = click.option("--by", help="who changes it [the user's name]")
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    help="seconds to wait for the instances; 0: do not wait",
)


@click.group()
def config() -> None:
    """Read and change the settings that every stage follows at run time."""


@config.command("get")
@click.argument("key", required=False)
@as_json
@with_environment
def get(environment: Environment, key: str | None, as_json: bool) -> None:
    """Show a setting as it was written and as it takes effect, or all of them."""
    log = _read(environment)
    keys = (key,) if key else ("weights", "gates", "feeds/global")
    others = () if key else tuple(k for k in log.settings.offsets if k not in keys)
    shown = [_current(log, one) for one in (*keys, *sorted(others))]
    if as_json:
        print_json(shown[0] if key else shown)
        return
    for one in shown:
        click.echo(_heading(one))
        rows = _rows(one["effective"], one["value"] or {})
        print_table(("field", "effective", "written"), rows)
        click.echo()


def _current(log: ConfigLog, key: str) -> dict[str, Any]:
    said = log.current(key)
    return {
        "key": key,
        "effective": effective(log.settings, key),
        "value": None if said is None else said.value,
        "offset": -1 if said is None else said.offset,
        "by": None if said is None else said.by,
        "note": None if said is None else said.note,
        "at_ms": None if said is None else said.at_ms,
    }


def _heading(shown: Mapping[str, Any]) -> str:
    if shown["offset"] < 0:
        return f"{shown['key']}: not set, this holds:"
    by = f" by {shown['by']}" if shown["by"] else ""
    note = f": {shown['note']}" if shown["note"] else ""
    return f"{shown['key']}: offset {shown['offset']}, {time_text(shown['at_ms'])}{by}{note}"


def _rows(holds: RawValue, written: RawValue, path: str = "") -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for name, value in holds.items():
        own = written.get(name)
        if isinstance(value, dict):
            rows += _rows(value, own if isinstance(own, dict) else {}, f"{path}{name}.")
        else:
            said = short_json(own) if name in written else ""
            rows.append((path + name, short_json(value), said))
    return rows


@config.command("history")
@click.argument("key", required=False)
@as_json
@with_environment
def history(environment: Environment, key: str | None, as_json: bool) -> None:
    """List what was written, oldest first, and whether it was applied or refused."""
    entries = _read(environment).history(key)
    if as_json:
        print_json([entry.as_dict() for entry in entries])
        return
    if not entries:
        click.echo("nothing was written" + (f" under `{key}`" if key else ""))
        return
    print_table(
        ("offset>", "time", "key", "by", "value", "note", "outcome"),
        [
            (
                str(entry.offset),
                time_text(entry.at_ms),
                entry.key,
                entry.by or "",
                "(removed)" if entry.value is None and entry.applied else short_json(entry.value),
                entry.note or "",
                "applied" if entry.applied else f"refused: {entry.refused}",
            )
            for entry in entries
        ],
    )


@config.command("set")
@click.argument("key")
@click.argument("value", nargs=-1, required=True)
@by_option
@click.option("--note", help="why")
@click.option("--if-offset", type=int, help="refuse unless this is the setting's last offset")
@click.option("--force", is_flag=True, help="send what this build would refuse, too")
@timeout_option
@as_json
@with_environment
def set_(
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

    VALUE is JSON, which replaces the setting whole (`null` removes it), or pairs such as
    `alpha=0.2 beta=0.8`, `scale.engagement=10`, `spam.hide_at=0.8`, which change those
    fields of it and leave the others. Of `rules/<filter>`, `bad-links.verdict=hide` changes a
    rule and `bad-links=null` removes it.
    """
    log = _read(environment)
    try:
        wanted = new_value(log, key, value)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    if if_offset is None:
        if_offset = log.settings.offsets.get(key, -1)
    said = {"by": by or user_name(), "note": note, "if_offset": if_offset}
    change = Change(key, record_value(wanted, said), timeout_s, as_json)
    _try(log, change, force=force)
    asyncio.run(_send_and_wait(environment, change))


@config.command("rollback")
@click.argument("key")
@click.option("--to", type=int, help="the offset of the record to go back to")
@by_option
@timeout_option
@as_json
@with_environment
def rollback(
    environment: Environment,
    key: str,
    to: int | None,
    by: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write an earlier value of a setting again: the one before the last, or that at --to.

    A setting that had no value before is removed: what it inherits holds again.
    """
    log = _read(environment)
    earlier = log.earlier(key, to)
    value = None if earlier is None else earlier.value
    said = {
        "by": by or user_name(),
        "note": None if earlier is None else f"rollback to {earlier.offset}",
        "if_offset": log.settings.offsets.get(key, -1),
    }
    change = Change(key, record_value(value, said), timeout_s, as_json)
    _try(log, change, force=False)
    asyncio.run(_send_and_wait(environment, change))


class Change(NamedTuple):
    """What is sent, and how its way is followed."""

    key: str
    value: bytes | None
    timeout_s: float
    as_json: bool


def _try(log: ConfigLog, change: Change, *, force: bool) -> None:
    try:
        log.settings.fold(change.key.encode(), change.value, log.settings.offset + 1)
    except BadSetting as error:
        if not force:
            raise BadSetting(f"refused, nothing was sent: {error}") from None


async def _send_and_wait(environment: Environment, change: Change) -> None:
    async with _instances(environment, change.timeout_s) as reader:
        asked = {} if reader is None else await living_now(reader)
        offset = await send(environment, "config", change.key.encode(), change.value)
        if not change.as_json:
            click.echo(f"`{change.key}` written at offset {offset}")
            if reader is not None and not asked:
                click.echo("no instance was seen in the last 15 s; the next to start follows it")
        heard: list[SettingAnswer] = []
        if reader is not None:
            async for answer in answers(reader, asked, offset, change.timeout_s):
                heard.append(answer)
                if not change.as_json:
                    click.echo(_line(answer))
    if change.as_json:
        said = [answer.as_dict() for answer in heard]
        print_json({"key": change.key, "offset": offset, "instances": said})
    _check_answers(heard, change.timeout_s)


@asynccontextmanager
async def _instances(
    environment: Environment, timeout_s: float
) -> AsyncIterator[TopicReader | None]:
    """A reader of `instances`, opened before the record is sent, or None not to wait."""
    if not timeout_s:
        yield None
        return
    async with open_topic(environment, "instances") as reader:
        yield reader


def _line(answer: SettingAnswer) -> str:
    if answer.state == "silent":
        return f"  silent   {answer.instance}"
    reason = "" if answer.reason is None else f": {answer.reason}"
    return f"  {answer.state:8} {answer.instance}  {answer.ms} ms{reason}"


def _check_answers(heard: list[SettingAnswer], timeout_s: float) -> None:
    refused = [a for a in heard if a.state == "refused"]
    silent = [a for a in heard if a.state == "silent"]
    if refused:
        names = ", ".join(a.instance for a in refused)
        raise FeedmillError(f"refused by {names}: {refused[0].reason}")
    if silent:
        names = ", ".join(a.instance for a in silent)
        raise FeedmillError(f"written, but after {timeout_s:g} s nothing was heard from {names}")


def _read(environment: Environment) -> ConfigLog:
    return fold_log(asyncio.run(read_all(environment, "config")), environment.signals)


def user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
