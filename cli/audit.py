"""`feedmill audit`: what people changed, when, how, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from feedmill.cli.duration import Duration
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, short_json, show, warn
from feedmill.events.audit import TOPIC, AuditRecord, decode_audit
from feedmill.events.errors import BadEvent
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicRecord, read_all
from feedmill.streams.settings.clock import now_ms

# Of records: what other columns have, and what only machines read.
_NOT_SHOWN = ("by", "note", "reason", "at_ms", "if_offset", "answers")


@click.command("audit")
@click.option("--since", type=Duration(), help="Only changes of the last 90s, 30m, 2h or 7d.")
@click.option("--topic", help="Only those of one topic, such as config.")
@click.option("--key", help="Only those of one key, such as weights.")
@click.option("--by", help="Only those that this one made.")
@asks_installation
def audit(
    environment: Environment,
    since: int | None,
    topic: str | None,
    key: str | None,
    by: str | None,
) -> Answer:
    """List what people changed, oldest first: who, what, before, after and why.

    Every command that changes settings, overrides, releases, lists, topics or offsets, or sends
    dead letters again, leaves a record here. What other programs write themselves does not.
    """
    found = [
        {"audit_offset": stored.offset, "stored_ms": stored.at_ms, **msgspec.to_builtins(said)}
        for stored, said in _records(environment, since)
        if topic in (None, said.topic) and key in (None, said.key) and by in (None, said.by)
    ]
    return show(found, _COLUMNS, empty="no change was recorded")


def _records(
    environment: Environment, since_ms: int | None
) -> Iterator[tuple[TopicRecord, AuditRecord]]:
    """Yield the records in their order; tells how many are none of the audit."""
    bad = 0
    for record in read_all(
        environment, TOPIC, since_ms=0 if since_ms is None else now_ms() - since_ms
    ):
        try:
            yield record, decode_audit(record.value)
        except BadEvent:
            bad += 1
    if bad:
        warn(f"left out: {bad} records that are none of the audit")


def _before(said: dict[str, Any]) -> str:
    before = _changed(said["before"], said["after"])
    return "" if before is None else short_json(before)


def _after(said: dict[str, Any]) -> str:
    after = _changed(said["after"], said["before"])
    return "(removed)" if after is None else short_json(after)


def _changed(value: Any, other: Any) -> Any:
    """Return what is shown of a value: of a long setting only what the other has not."""
    value, other = _shown(value), _shown(other)
    if isinstance(value, dict) and isinstance(other, dict) and value != other:
        return {k: v for k, v in value.items() if k not in other or other[k] != v}
    return value


def _shown(value: Any) -> Any:
    """Return what a record says, without who wrote it and why."""
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    if not isinstance(value, dict):
        return value
    return {name: field for name, field in value.items() if name not in _NOT_SHOWN}


_COLUMNS: Columns = {
    "time": "stored_ms:time",
    "by": "by",
    "from": lambda said: f"{said['user']}@{said['host']}",
    "command": "command",
    "topic": "topic",
    "key": "key",
    "before": _before,
    "after": _after,
    "note": "note",
}
