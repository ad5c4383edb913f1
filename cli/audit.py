"""`feedmill audit`: what people changed, when, how, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from feedmill.cli.duration import Duration
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table, short_json, time_text
from feedmill.events.audit import TOPIC, AuditRecord, decode_audit
from feedmill.events.errors import BadEvent
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicRecord, open_topic
from feedmill.streams.settings.clock import now_ms

_COLUMNS = ("time", "by", "from", "command", "topic", "key", "before", "after", "note")
# Of records: what other columns have, and what only machines read.
_NOT_SHOWN = ("by", "note", "reason", "at_ms", "if_offset", "answers")


@click.command("audit")
@click.option("--since", type=Duration(), help="Only changes of the last 90s, 30m, 2h or 7d.")
@click.option("--topic", help="Only those of one topic, such as config.")
@click.option("--key", help="Only those of one key, such as weights.")
@click.option("--by", help="Only those that this one made.")
@json_option
@with_environment
def audit(
    environment: Environment,
    since: int | None,
    topic: str | None,
    key: str | None,
    by: str | None,
    as_json: bool,
) -> None:
    """List what people changed, oldest first: who, what, before, after and why.

    Every command that changes settings, overrides, releases, lists, topics or offsets, or sends
    dead letters again, leaves a record here. What other programs write themselves does not.
    """
    found = [
        (stored, said)
        for stored, said in _records(environment, since)
        if topic in (None, said.topic) and key in (None, said.key) and by in (None, said.by)
    ]
    if as_json:
        print_json(
            [
                {"audit_offset": stored.offset, "stored_ms": stored.at_ms, **_fields(said)}
                for stored, said in found
            ]
        )
    elif not found:
        click.echo("no change was recorded")
    else:
        print_table(_COLUMNS, [_row(stored, said) for stored, said in found])


def _records(
    environment: Environment, since_ms: int | None
) -> Iterator[tuple[TopicRecord, AuditRecord]]:
    """Yield the records in their order; tells how many are none of the audit."""
    bad = 0
    with open_topic(environment, TOPIC) as reader:
        if since_ms is None:
            reader.seek_to_beginning()
        else:
            reader.seek_to_time(now_ms() - since_ms)
        for record in reader.read_to_end():
            try:
                yield record, decode_audit(record.value)
            except BadEvent:
                bad += 1
    if bad:
        click.echo(f"left out: {bad} records that are none of the audit", err=True)


def _fields(said: AuditRecord) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(said)
    return fields


def _row(stored: TopicRecord, said: AuditRecord) -> tuple[str, ...]:
    before, after = _shown(said.before), _shown(said.after)
    if isinstance(before, dict) and isinstance(after, dict) and before != after:
        # Of a long setting only what changed.
        same = {name for name in before if name in after and before[name] == after[name]}
        before = {name: field for name, field in before.items() if name not in same}
        after = {name: field for name, field in after.items() if name not in same}
    return (
        time_text(stored.at_ms),
        said.by,
        f"{said.user}@{said.host}",
        said.command,
        said.topic,
        said.key or "",
        "" if before is None else short_json(before),
        "(removed)" if after is None else short_json(after),
        said.note,
    )


def _shown(value: Any) -> Any:
    """Return what a record says, without who wrote it and why."""
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    if not isinstance(value, dict):
        return value
    return {name: field for name, field in value.items() if name not in _NOT_SHOWN}
