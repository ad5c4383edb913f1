"""`feedmill topics create|describe`."""

from __future__ import annotations

from dataclasses import asdict

import click

from feedmill.cli.options import with_environment
from feedmill.cli.output import print_json, print_table
from feedmill.events.errors import UsageError
from feedmill.streams.kafka.topics import (
    DEFAULT_PARTITIONS,
    MOST_PARTITIONS,
    CreateReport,
    SettingDifference,
    create,
    describe,
)
from feedmill.streams.settings.environment import Environment

_as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.group()
def topics() -> None:
    """Create the topics of an installation and compare them with what they should be."""


@topics.command("create")
@with_environment
@click.option(
    "--partitions",
    type=click.IntRange(1, MOST_PARTITIONS),
    default=DEFAULT_PARTITIONS,
    show_default=True,
    help="of posts, engagements, signals and counters; fixed for the life of the prefix",
)
@click.option(
    "--replicas",
    type=click.IntRange(min=1),
    default=None,
    help="copies of each partition; the broker's default",
)
@click.option("--apply", "apply_settings", is_flag=True, help="set what differs in existing topics")
@_as_json
def create_command(
    environment: Environment,
    partitions: int,
    replicas: int | None,
    apply_settings: bool,
    as_json: bool,
) -> None:
    """Create the missing topics; leave the others as they are."""
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
@_as_json
def describe_command(environment: Environment, as_json: bool) -> None:
    """Show each topic, and what of it differs from what it should be; exit 1 if one is missing."""
    states = describe(
        environment.kafka,
        environment.topic_prefix,
        environment.signals.all,
        client=environment.security,
    )
    if as_json:
        print_json([asdict(state) for state in states])
    else:
        print_table(
            ("topic", "partitions>", "replicas>", "cleanup", "differs"),
            [
                (
                    state.name,
                    "missing" if state.partitions is None else str(state.partitions),
                    str(state.replicas or ""),
                    state.settings["cleanup.policy"],
                    "; ".join(map(_difference_text, state.differences)),
                )
                for state in states
            ],
        )
    missing = [state.name for state in states if state.partitions is None]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(states)} topics are missing; `feedmill topics create` makes"
            " them"
        )


def _print_report(report: CreateReport) -> None:
    for name in report.created:
        click.echo(f"created {name}")
    click.echo(f"{len(report.created)} created, {len(report.existing)} were there")
    verb = "set" if report.applied else "differs (--apply sets it)"
    for difference in report.differences:
        click.echo(f"{verb}: {difference.topic} {_difference_text(difference)}")


def _difference_text(difference: SettingDifference) -> str:
    return f"{difference.setting} {difference.found or 'unset'} -> {difference.expected}"
