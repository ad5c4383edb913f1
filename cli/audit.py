"""`feedmill audit`: what people changed, when, how, and why."""

from __future__ import annotations

import click
import msgspec

from feedmill.cli import Duration, option
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, short_json, show, warn
from feedmill.events.audit import TOPIC
from feedmill.operations.changes import audit_row, matching
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.clock import now_ms


@click.command("audit")
@option("--since", "Only changes of the last 90s, 30m, 2h or 7d.", Duration())
@option("--topic", "Only those of one topic, such as config.")
@option("--key", "Only those of one key, such as weights.")
@option("--by", "Only those that this one made.")
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
    since_ms = 0 if since is None else now_ms() - since
    read = [audit_row(record) for record in read_all(environment, TOPIC, since_ms=since_ms)]
    if bad := read.count(None):
        warn(f"left out: {bad} records that are none of the audit")
    rows = matching(filter(None, read), topic=topic, key=key, by=by)
    answer = show(rows, _COLUMNS, empty="no change was recorded")
    content = [{**row._asdict(), **msgspec.to_builtins(row.said)} for row in rows]
    for one in content:
        del one["said"]
    return Answer(content, answer.lines)


_COLUMNS: Columns = {
    "time": "stored_ms:time",
    "by": lambda row: row.said.by,
    "from": lambda row: f"{row.said.user}@{row.said.host}",
    "command": lambda row: row.said.command,
    "topic": lambda row: row.said.topic,
    "key": lambda row: row.said.key,
    "before": lambda row: "" if row.before is None else short_json(row.before),
    "after": lambda row: "(removed)" if row.after is None else short_json(row.after),
    "note": lambda row: row.said.note,
}
