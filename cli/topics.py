"""`feedmill topics create|describe`: make an installation's topics and check their settings."""

from __future__ import annotations

from dataclasses import asdict

import click

from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.events.errors import UsageError
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS, MAX_PARTITIONS
from feedmill.streams.kafka.topics import (
    CreateReport,
    SettingDifference,
    TopicState,
    create,
    describe,
)
from feedmill.streams.settings.environment import Environment


@click.group()
def topics() -> None:
    """Create the topics of an installation, and compare them with what they should be."""


@topics.command("create")
@with_environment
@click.option(
    "--partitions",
    type=click.IntRange(1, MAX_PARTITIONS),
    default=DEFAULT_PARTITIONS,
    show_default=True,
    metavar="N",
    help="Partitions of posts, engagements, signals, counters and others; can never be changed"
    " under one prefix.",
)
@click.option(
    "--replicas",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    show_default="the broker's",
    help="Replication factor.",
)
@click.option(
    "--apply",
    "apply_settings",
    is_flag=True,
    help="Also change existing topics to the settings that they should have.",
)
@json_option
def create_command(
    environment: Environment,
    partitions: int,
    replicas: int | None,
    apply_settings: bool,
    as_json: bool,
) -> None:
    """Create the missing topics; existing ones stay as they are unless --apply is given."""
    report = create(
        environment.kafka,
        environment.topic_prefix,
        partitions,
        environment.signals.all,
        replicas=replicas or -1,
        apply_settings=apply_settings,
        client=environment.security,
    )
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)


@topics.command("describe")
@with_environment
@json_option
def describe_command(environment: Environment, as_json: bool) -> None:
    """Show each topic and which of its settings differ from what they should be.

    Exits with 1 if a topic is missing.
    """
    states = describe(
        environment.kafka,
        environment.topic_prefix,
        environment.signals.all,
        client=environment.security,
    )
    if as_json:
        print_json([asdict(state) for state in states])
    else:
        columns = ("topic", "partitions>", "replicas>", "cleanup", "differs")
        print_table(columns, [_row(state) for state in states])
    missing = [state.name for state in states if state.partitions is None]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(states)} topics are missing; `feedmill topics create` creates"
            " them"
        )


def _row(state: TopicState) -> tuple[str, ...]:
    return (
        state.name,
        "missing" if state.partitions is None else str(state.partitions),
        str(state.replicas or ""),
        state.settings["cleanup.policy"],
        "; ".join(map(_difference_text, state.differences)),
    )


def _print_report(report: CreateReport) -> None:
    for name in report.created:
        click.echo(f"created {name}")
    click.echo(f"{len(report.created)} created, {len(report.existing)} existed already")
    verb = "changed" if report.applied else "differs (--apply changes it)"
    for difference in report.differences:
        click.echo(f"{verb}: {difference.topic} {_difference_text(difference)}")


def _difference_text(difference: SettingDifference) -> str:
    return f"{difference.setting} {difference.found or 'unset'} -> {difference.expected}"
