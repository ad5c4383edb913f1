"""`feedmill models release|rollback|freeze|unfreeze|shadow`: what changes which version runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from feedmill.cli import COUNT, SHARE, Duration, flag, option
from feedmill.cli.awaited_change import ChangeOptions, with_noted_change
from feedmill.cli.models.versions import model_argument
from feedmill.events.errors import UsageError
from feedmill.events.release import (
    CANDIDATE,
    CORE_SHARE,
    MAY_DEMOTE,
    MAY_HIDE,
    Candidate,
    ListRelease,
    TriedVersion,
)
from feedmill.operations.releases import (
    Canary,
    WantedRelease,
    candidate_of,
    chosen_card,
    pending_text,
    read_history,
    tried_release,
    wanted_freeze,
    wanted_release,
    wanted_rollback,
    wanted_unfreeze,
    write_release,
)
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import SentRecord
from feedmill.streams.releases.release_log import BY_TEXT
from feedmill.streams.settings.instances import SettingAnswer


@click.command("release")
@model_argument
@click.argument("version", required=False)
@option(
    "--canary N",
    "Let it judge the new posts of the first N partitions before the rest.",
    COUNT,
    name="partitions",
)
@option(
    "--after TIME",
    "When a canary goes back without a decision; one of quality is released.  [3d; 10m]",
    Duration(),
    name="after_ms",
)
@option("--may-hide SHARE", "So many more of all posts a canary may hide.", SHARE, MAY_HIDE)
@option(
    "--may-demote SHARE",
    "So many more of all posts a canary may demote or hide.",
    SHARE,
    MAY_DEMOTE,
)
@with_noted_change
def release(
    environment: Environment,
    change: ChangeOptions,
    model: str,
    version: str | None,
    partitions: int | None,
    after_ms: int | None,
    may_hide: float,
    may_demote: float,
) -> None:
    """Have every worker run a version from now on, and wait until each does or refuses.

    VERSION is its first six digits or more, or `shipped`; without it, it is the one that `feedmill
    train` stored last. The version is tried here first. Each worker needs the artifact in its own
    store. With --canary the workers compare it with the version in force and release it to the
    rest, or go back: `feedmill models health`.
    """
    canary = Canary(partitions or 0, after_ms, may_hide, may_demote)
    if not partitions and canary != Canary(0):
        raise click.UsageError("--after, --may-hide and --may-demote go with --canary")
    tried = canary if partitions else None
    wanted = wanted_release(environment, change.made_by, model, version, tried)
    _send_wanted(environment, change, wanted)


@click.command("rollback")
@model_argument
@option("--to OFFSET", "Go back to the release at this offset instead.", int)
@with_noted_change
def rollback(environment: Environment, change: ChangeOptions, model: str, to: int | None) -> None:
    """End the candidate, or else have workers run the version again that they ran before.

    Before the first release that is the version which ships with feedmill.
    """
    _send_wanted(environment, change, wanted_rollback(environment, change.made_by, model, to))


@click.command("freeze")
@model_argument
@with_noted_change
def freeze(environment: Environment, change: ChangeOptions, model: str) -> None:
    """Keep the version in force: `release` and `rollback` refuse another one until unfreeze."""
    _send_wanted(environment, change, wanted_freeze(environment, change.made_by, model))


@click.command("unfreeze")
@model_argument
@with_noted_change
def unfreeze(environment: Environment, change: ChangeOptions, model: str) -> None:
    """Allow releases again."""
    _send_wanted(environment, change, wanted_unfreeze(environment, change.made_by, model))


@click.command("shadow")
@click.argument("model", type=click.Choice(BY_TEXT))
@click.argument("version", required=False)
@flag("--stop", "End it: no version scores in shadow.")
@option(
    "--core-share SHARE",
    "How much of one core it may take of each worker.",
    click.FloatRange(min=0, min_open=True, max=1),
    CORE_SHARE,
)
@with_noted_change
def shadow(
    environment: Environment,
    change: ChangeOptions,
    model: str,
    version: str | None,
    stop: bool,
    core_share: float,
) -> None:
    """Have every worker score live posts with a VERSION too, which decides nothing.

    What it says goes to the topic `shadow`, for `feedmill models compare`. A model has one
    candidate at most. Each worker needs the artifact in its own store.
    """
    if stop == (version is not None):
        raise click.UsageError("give either a VERSION or --stop")
    history = read_history(environment)
    wanted = None
    if version is None:
        running = history.candidate(model)
        if running is None or running.record.partitions:
            raise UsageError(f"no version of `{model}` scores in shadow")
        done = f"{model}: {running.record.version} stopped"
    else:
        card = chosen_card(environment, model, version)
        tried = tried_release(environment, card, change.by, change.note)
        wanted = candidate_of(tried, core_share=core_share)
        done = f"{model}: {wanted.version} scores in shadow"
    _send_tried(environment, change, CANDIDATE + model, model, wanted, done)


def _send_wanted(environment: Environment, change: ChangeOptions, wanted: WantedRelease) -> None:
    key, model, version, shown, note, done = wanted
    _send_tried(environment, replace(change, note=note), key, model, version, done, shown)


def _send_tried(
    environment: Environment,
    change: ChangeOptions,
    key: str,
    model: str,
    version: TriedVersion | None,
    done: str,
    shown: str | None = None,
) -> None:
    """Write a record about a version, None to end it, and report the answers as of a release.

    `shown` is the version that JSON names in place of `version`.
    """
    offset, answers = send_record(environment, change, key, model, version, done)
    pending = ""
    if version is not None:
        shown = shown or version.version
        is_shadow = isinstance(version, Candidate) and not version.partitions
        back = f"models shadow {model} --stop" if is_shadow else f"models rollback {model}"
        pending = pending_text(back)
    found = {"model": model, "version": shown, "offset": offset}
    otherwise = "`feedmill models health` shows when they do"
    change.report(found, answers, "the release", otherwise, pending)


def send_record(
    environment: Environment,
    change: ChangeOptions,
    key: str,
    model: str,
    version: TriedVersion | ListRelease | None,
    done: str,
) -> tuple[int, Sequence[SettingAnswer]]:
    """Write a record of `models`, empty for None, and wait for the instances that run a model.

    `done` says what was done.  Returns the offset of the record, and the answers.
    """

    def say_written(places: Sequence[SentRecord], _: int | None) -> None:
        change.tell(f"{done} at offset {places[-1].offset}")

    written = write_release(change.awaited(environment, say_written), key, model, version)
    return written.offset, written.answers
