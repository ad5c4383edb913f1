"""`feedmill topics`: topics as an installation should have them, and those that were lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import click

from feedmill.cli import COUNT, flag, option
from feedmill.cli.options import by_option, made_by, note_option, with_environment
from feedmill.cli.output import Answer, Columns, answers, say, table_of
from feedmill.events.errors import UsageError
from feedmill.operations.backups import copy_topics
from feedmill.operations.changes import TOPIC_EXISTS, Audited, open_changes
from feedmill.operations.hanging_transactions import OpenTransaction, abort, find_hanging
from feedmill.operations.times import duration_text
from feedmill.operations.worker_groups import ResetPlan, plan_reset, reset
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS, MAX_PARTITIONS
from feedmill.streams.kafka.topics import CreateReport, SettingDifference, create, describe
from feedmill.streams.settings.clock import now_ms


@click.group()
def topics() -> None:
    """Create the topics of an installation, and compare them with what they should be."""


@topics.command("create")
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


@topics.command("describe")
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


@topics.command("reset")
@flag("--dry-run", "Say what it would do, and do nothing.")
@by_option
@note_option
@with_environment
def reset_command(environment: Environment, dry_run: bool, by: str | None, note: str) -> None:
    """Have stopped workers go on after a topic was deleted, or deleted and made anew.

    It looks for topics that are missing, or others than those that the workers have read, creates
    what is missing, and has their groups read from the beginning. If `posts` or `engagements` is
    another one, signals, counters, features and poison of the former records are deleted. After a
    topic was only cut off, see `feedmill groups reset-offsets`.
    """
    plan = plan_reset(environment)
    for line in _plan_lines(plan):
        say(line)
    if plan.groups and not dry_run:
        reset(environment, plan, made_by(by, note), now_ms())
        say("done; start the workers")


@topics.command("copy")
@option("--from-prefix PREFIX", "Where to copy from.", required=True)
@by_option
@note_option
@with_environment
def copy_command(environment: Environment, from_prefix: str, by: str | None, note: str) -> None:
    """Copy what people and the product wrote under another prefix, to have other partitions.

    These are config, models, overrides, posts, engagements, exposures and labels; workers make
    signals and counts anew from them. Run again, it copies what came since. Create the topics
    first.
    """
    for topic, count in copy_topics(environment, from_prefix, made_by(by, note)).items():
        say(f"{topic}: {count:,} records")


@topics.command("abort-hanging")
@flag("--dry-run", "Show them, and do nothing.")
@by_option
@note_option
@with_environment
def abort_hanging_command(
    environment: Environment, dry_run: bool, by: str | None, note: str
) -> None:
    """End transactions that never end by themselves, and hold back who reads what is committed.

    A broker that is killed within a commit may leave one: records, and no coordinator that knows of
    them. Workers go on behind it, and the next commit of the one that wrote it ends it. This is for
    one that comes back no more. What an open transaction wrote in the last minute is left alone.
    """
    at_ms = now_ms()
    found = find_hanging(environment, at_ms)
    for one in found:
        say(
            f"{one.topic}[{one.partition}] from offset {one.offset} on: producer {one.producer_id},"
            f" which wrote last {duration_text(at_ms - one.wrote_at_ms)} ago"
        )
    if not found:
        say("no transaction hangs")
    elif not dry_run:
        with open_changes(environment, made_by(by, note)) as changes:
            changes.announce(*(_audited_end(environment, one) for one in found))
        abort(environment, found)
        say(f"{len(found)} aborted: their records do not count, and readers go on")


def _audited_end(environment: Environment, one: OpenTransaction) -> Audited:
    before = {"producer_id": one.producer_id, "producer_epoch": one.producer_epoch}
    return Audited(environment.named(one.topic), None, one.partition, one.offset, before)


def _plan_lines(plan: ResetPlan) -> Iterator[str]:
    if not plan.groups:
        yield "nothing to reset: every topic is the one that the workers have read"
        missing = ", ".join(plan.created)
        if missing:
            yield f"missing: {missing}; `feedmill topics create` creates them"
        return
    for name, is_new in plan.changed.items():
        yield f"{name}: {'made anew' if is_new else 'missing'}"
    if plan.deleted:
        yield f"delete what was made of former records: {', '.join(plan.deleted)}"
    if plan.created:
        yield f"create: {', '.join(plan.created)}, of {plan.partitions} partitions where they vary"
    yield f"read from the beginning: {', '.join(plan.groups)}"
