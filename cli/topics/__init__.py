"""`feedmill topics create|describe`: topics as an installation should have them; and the group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import click

from feedmill.cli import COUNT, LazyGroup, flag, option
from feedmill.cli.options import by_option, made_by, note_option, with_environment
from feedmill.cli.output import Answer, Columns, answers, table_of
from feedmill.events.errors import UsageError
from feedmill.operations.changes import TOPIC_EXISTS, Audited, open_changes
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS, MAX_PARTITIONS
from feedmill.streams.kafka.topics import CreateReport, SettingDifference, create, describe

_PLACES = {
    "create": "topics:create_command",
    "describe": "topics:describe_command",
    "reset": "topics.mending:reset_command",
    "copy": "topics.mending:copy_command",
    "abort-hanging": "topics.mending:abort_hanging_command",
}


@click.group(cls=LazyGroup, places=_PLACES)
def topics() -> None:
    """Create the topics of an installation, and compare them with what they should be."""


@click.command("create")
@with_environment
@option(
    "--partitions N",
    "Partitions of posts, engagements, signals, counters and others; can never be changed"
    " under one prefix.",
    click.IntRange(1, MAX_PARTITIONS),
    DEFAULT_PARTITIONS,
)
@option("--replicas N", "Replication factor.", COUNT, show_default="the broker's")
@flag(
    "--apply",
    "Also change existing topics to the settings that they should have.",
    "apply_settings",
)
@by_option
@note_option
@answers
def create_command(
    environment: Environment,
    partitions: int,
    replicas: int | None,
    apply_settings: bool,
    by: str | None,
    note: str,
) -> Answer:
    """Create the missing topics; existing ones stay as they are unless --apply is given."""
    make = partial(
        create,
        environment.kafka,
        environment.topic_prefix,
        partitions,
        environment.signals.all,
        replicas=replicas or -1,
        client=environment.security,
    )
    report = make()
    done = [*_audited(environment, report, applied=apply_settings)]
    if done:
        with open_changes(environment, made_by(by, note)) as changes:
            changes.announce(*done)
    if apply_settings:
        make(apply_settings=True)
        report = replace(report, applied=True)
    verb = "changed" if report.applied else "differs (--apply changes it)"
    lines = [
        *(f"created {name}" for name in report.created),
        f"{len(report.created)} created, {len(report.existing)} existed already",
        *(f"{verb}: {one.topic} {_difference_text(one)}" for one in report.differences),
    ]
    return Answer(report, lines)


@click.command("describe")
@with_environment
@answers
def describe_command(environment: Environment) -> Answer:
    """Show each topic and which of its settings differ from what they should be.

    Exits with 1 if a topic is missing.
    """
    states = describe(
        environment.kafka,
        environment.topic_prefix,
        environment.signals.all,
        client=environment.security,
    )
    missing = sum(state.partitions is None for state in states)
    failure = UsageError(
        f"{missing} of {len(states)} topics are missing; `feedmill topics create` creates them"
    )
    return Answer(states, [table_of(states, _COLUMNS)], failure if missing else None)


_COLUMNS: Columns = {
    "topic": "name",
    "partitions>": lambda state: "missing" if state.partitions is None else str(state.partitions),
    "replicas>": lambda state: str(state.replicas or ""),
    "cleanup": lambda state: state.settings["cleanup.policy"],
    "differs": lambda state: "; ".join(map(_difference_text, state.differences)),
}


def _audited(environment: Environment, report: CreateReport, *, applied: bool) -> Iterator[Audited]:
    """Say which topics were created, and which settings are to be changed."""
    for name in report.created:
        yield Audited(environment.named(name), after=TOPIC_EXISTS)
    for one in report.differences if applied else ():
        before, after = {one.setting: one.found}, {one.setting: one.expected}
        yield Audited(environment.named(one.topic), before=before, after=after)


def _difference_text(difference: SettingDifference) -> str:
    return f"{difference.setting} {difference.found or 'unset'} -> {difference.expected}"
