"""`feedmill groups list|describe|reset-offsets`: the consumer groups of workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click
from kafka.admin import KafkaAdminClient

from feedmill.cli import flag, option
from feedmill.cli.options import by_option, made_by, note_option, with_environment
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.events.errors import UsageError
from feedmill.operations.status.finding import ranges
from feedmill.operations.worker_groups import (
    Group,
    To,
    bounds_of,
    known_group,
    plan_moves,
    read_groups,
    reset_offsets,
)
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import SHARDS
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.topic_ids import INPUTS
from feedmill.streams.kafka.topics import open_admin
from feedmill.streams.settings.clock import now_ms

_GROUPS = ("group", "state", "members>", "partitions>", "lag>")
# What members get a share of, or read with it.
_SHARED = (*INPUTS, SHARDS)
_MEMBERS = ("member", "host", *_SHARED)
_PARTITIONS = ("partition", "offset>", "end>", "lag>", "member")


@click.group()
def groups() -> None:
    """See which worker reads which partitions, and how far; set offsets of stopped ones."""


@groups.command("list")
@with_environment
@json_option
def list_command(environment: Environment, as_json: bool) -> None:
    """List the groups of workers: their members, partitions of both inputs, and lag."""
    with open_admin(environment.kafka, environment.security) as admin:
        found = {
            name: (group, _places(environment, admin, group))
            for name, group in read_groups(environment, admin).items()
        }
    rows = [
        {
            "group": name,
            "state": group.state,
            "members": len(group.members),
            "partitions": len(places),
            "lag": sum(place["lag"] for place in places),
        }
        for name, (group, places) in found.items()
    ]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no worker has run yet: `feedmill worker` starts one")
    else:
        print_table(_GROUPS, [_cells(row.values()) for row in rows])


@groups.command("describe")
@click.argument("group", default="worker")
@with_environment
@json_option
def describe_command(environment: Environment, group: str, as_json: bool) -> None:
    """Show each member of GROUP, and the offset, end and lag of each partition."""
    with open_admin(environment.kafka, environment.security) as admin:
        found = known_group(environment, admin, group)
        places = _places(environment, admin, found)
    members = [
        {"member": one.client_id, "host": one.host, **{t: one.numbers(t) for t in _SHARED}}
        for one in sorted(found.members, key=lambda one: one.client_id)
    ]
    if as_json:
        shown = {"group": group, "state": found.state, "members": members, "partitions": places}
        print_json(shown)
        return
    click.echo(f"{environment.group(group)}: {found.state}\n")
    if members:
        print_table(_MEMBERS, [_cells(member.values()) for member in members])
        click.echo()
    print_table(_PARTITIONS, [_cells(place.values()) for place in places])


@groups.command("reset-offsets")
@click.argument("group")
@click.argument("partitions", nargs=-1, required=True, metavar="TOPIC[:N]…")
@option(
    "--to earliest|latest|OFFSET",
    "The first record that is there, after the last, or an offset.",
    required=True,
)
@flag("--dry-run", "Say what it would do, and do nothing.")
@by_option
@note_option
@with_environment
def reset_offsets_command(
    environment: Environment,
    group: str,
    partitions: tuple[str, ...],
    to: str,
    dry_run: bool,
    by: str | None,
    note: str,
) -> None:
    """Have GROUP go on elsewhere in partitions such as posts:3; posts stands for all of them.

    For a worker that says that its offset is out of range. Stop all workers of the group first.
    What they judged stays; records that are read again are judged again, and count once.
    """
    whereto = _to(to)
    with open_admin(environment.kafka, environment.security) as admin:
        places = _places_of(environment, admin, partitions)
        if isinstance(whereto, int) and len(places) > 1:
            raise UsageError(f"--to {to} is the offset of one partition, got {len(places)}")
        moves = plan_moves(environment, admin, group, places, whereto) if dry_run else []
    if not dry_run:
        moves = reset_offsets(environment, group, places, whereto, made_by(by, note), now_ms())
    for at, before, after in moves:
        was = "none" if before is None else str(before)
        click.echo(f"{at.topic}[{at.partition}]: {was} -> {after}")
    click.echo("nothing was changed" if dry_run else "done; start the workers")


def _places(
    environment: Environment, admin: KafkaAdminClient, group: Group
) -> list[dict[str, Any]]:
    """Return what is known of each partition that a group reads or has read, in order."""
    member_of = {at: one.client_id for one in group.members for at in one.partitions}
    places = sorted(at for at in {*group.offsets, *member_of} if at.topic in INPUTS)
    return [
        {
            "partition": f"{at.topic}:{at.partition}",
            "offset": group.offsets.get(at),
            "end": end,
            "lag": max(0, end - group.offsets.get(at, first)),
            "member": member_of.get(at),
        }
        for at, (first, end) in bounds_of(environment, admin, places).items()
    ]


def _places_of(
    environment: Environment, admin: KafkaAdminClient, partitions: Sequence[str]
) -> list[TopicPartition]:
    """Return the partitions that words such as posts:3 or posts stand for."""
    counts = {one["name"]: len(one["partitions"]) for one in admin.describe_topics()}
    places = []
    for word in partitions:
        topic, colon, number = word.partition(":")
        if colon and not number.isdecimal():
            raise UsageError(f"expected TOPIC or TOPIC:N, such as posts:3, got {word!r}")
        if not colon and environment.topic(topic) not in counts:
            raise UsageError(
                f"Kafka at {environment.kafka} has no topic `{environment.topic(topic)}`;"
                " `feedmill topics describe` lists topics and partitions"
            )
        numbers = [int(number)] if colon else range(counts[environment.topic(topic)])
        places += [TopicPartition(topic, n) for n in numbers]
    return list(dict.fromkeys(places))


def _to(text: str) -> To:
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    if text.isdecimal():
        return int(text)
    raise UsageError(f"--to: expected earliest, latest or an offset, got {text!r}")


def _cells(values: Iterable[Any]) -> list[str]:
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ranges(value) or "-"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
