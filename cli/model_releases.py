"""`feedmill models release|rollback|freeze|unfreeze`: what changes which version runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click
import msgspec

from feedmill.cli.answers import answer_line, check_answers, instances_topic
from feedmill.cli.change_options import ChangeOptions, with_noted_change
from feedmill.cli.duration import Duration
from feedmill.cli.model_canary import CANARY_MS, canary_of, check_canary
from feedmill.cli.model_versions import (
    chosen_card,
    model_argument,
    read_history,
    sha256_in_force,
    trained_card,
)
from feedmill.cli.output import print_json
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.release import CANARY, SHADOW, ListRelease, ModelRelease, TriedVersion
from feedmill.models.artifact import ModelCard
from feedmill.models.store import local_copy
from feedmill.operations.changes import Change, MadeBy, last_value, write_change
from feedmill.streams.environment import Environment
from feedmill.streams.releases.loading import Trial, shipped_sha256, store_of, try_model
from feedmill.streams.releases.release_log import TOPIC
from feedmill.streams.settings.instances import (
    SettingAnswer,
    read_recent_instances,
    release_answers,
)


@click.command("release")
@model_argument
@click.argument("version", required=False)
@click.option(
    "--canary",
    "partitions",
    type=click.IntRange(min=1),
    metavar="N",
    help="Let it judge the new posts of the first N partitions; the rest after --after.",
)
@click.option(
    "--after",
    "after_ms",
    type=Duration(),
    metavar="TIME",
    help="How long a canary lasts without an alarm, as 90s, 10m or 2h.  [10m]",
)
@with_noted_change
def release(
    environment: Environment,
    change: ChangeOptions,
    model: str,
    version: str | None,
    partitions: int | None,
    after_ms: int | None,
) -> None:
    """Have every worker run a version from now on, and wait until each does or refuses.

    VERSION is its first six digits or more, or `shipped`; without it, it is the one that `feedmill
    train` stored last. The version is tried here first. Each worker needs the artifact in its own
    store. With --canary the workers themselves release it to the rest, or go back at an alarm:
    `feedmill models health`.
    """
    if after_ms is not None and partitions is None:
        raise click.UsageError("--after is how long a canary lasts; give --canary, too")
    read_history(environment).check_not_frozen(model)
    if partitions is not None:
        check_canary(environment, model, partitions)
    if version is None:
        card = trained_card(environment, model)
    else:
        card = chosen_card(environment, model, version)
    wanted = tried_release(environment, card, change.by, change.note)
    if partitions is None:
        _send_and_wait(environment, change, model, wanted)
        return
    canary = canary_of(wanted, partitions, after_ms or CANARY_MS)
    done = f"{model}: {canary.version} judges {partitions} of the partitions"
    send_tried(environment, change, CANARY + model, model, canary, done)


@click.command("rollback")
@model_argument
@click.option(
    "--to", type=int, metavar="OFFSET", help="Go back to the release at this offset instead."
)
@with_noted_change
def rollback(environment: Environment, change: ChangeOptions, model: str, to: int | None) -> None:
    """End the canary, or else have workers run the version again that they ran before.

    Before the first release that is the version which ships with feedmill.
    """
    history = read_history(environment)
    history.check_not_frozen(model)
    canary, shipped = history.canaries.current(model), shipped_sha256(model)
    if canary is not None and to is None:
        key, wanted, version = CANARY + model, None, sha256_in_force(history, model)[:12]
        note = f"end of the canary at {canary.offset}"
        done = f"{model}: the canary of {canary.canary.version} ends, {version} judges all posts"
    else:
        target = history.rollback_target(model, to, shipped)
        key, wanted, version = model, target.release, shipped[:12]
        note, done = "rollback to the shipped version", f"{model}: back to {version}, which ships,"
        if wanted is not None:
            version, note = wanted.version, f"rollback to {target.offset}"
            done = f"{model}: back to {version}"
    change = replace(change, note=f"{note}: {change.note}" if change.note else note)
    if wanted is not None:
        wanted = _renewed(wanted, by=change.by, note=change.note, frozen=False, canary=None)
    send_tried(environment, change, key, model, wanted, done, version)


@click.command("freeze")
@model_argument
@with_noted_change
def freeze(environment: Environment, change: ChangeOptions, model: str) -> None:
    """Keep the version in force: `release` and `rollback` refuse another one until unfreeze."""
    history = read_history(environment)
    history.check_not_frozen(model)
    current = history.current(model)
    if current is None:
        current = tried_release(
            environment, chosen_card(environment, model, None), change.by, change.note
        )
    wanted = _renewed(current, by=change.by, note=change.note, frozen=True, canary=None)
    _send_and_wait(environment, change, model, wanted)


@click.command("unfreeze")
@model_argument
@with_noted_change
def unfreeze(environment: Environment, change: ChangeOptions, model: str) -> None:
    """Allow releases again."""
    current = read_history(environment).current(model)
    if current is None or not current.frozen:
        raise UsageError(f"`{model}` is not frozen")
    wanted = _renewed(current, by=change.by, note=change.note, frozen=False, canary=None)
    _send_and_wait(environment, change, model, wanted)


def tried_release(environment: Environment, card: ModelCard, by: str, note: str) -> ModelRelease:
    """Try a version in a process of its own; return its release, with the known answers.

    Raises
    ------
    BadArtifact, UsageError
        The trial refuses it, or the store does not give it.
    """
    store = store_of(card.name, environment.models, card.sha256)
    with local_copy(store, card.name, card.sha256) as folder:
        answers = try_model(Trial(card.name, card.sha256, str(folder))).answers
    return ModelRelease(card.sha256, answers, by, note)


def _renewed(release: ModelRelease, **changes: Any) -> ModelRelease:
    renewed: ModelRelease = msgspec.structs.replace(release, **changes)
    return renewed


def _send_and_wait(
    environment: Environment, change: ChangeOptions, model: str, release: ModelRelease
) -> None:
    send_tried(environment, change, model, model, release, f"{model}: {release.version} released")


def send_tried(
    environment: Environment,
    change: ChangeOptions,
    key: str,
    model: str,
    version: TriedVersion | None,
    done: str,
    shown: str | None = None,
) -> None:
    """Write a record about a version, None to end it, and print the answers as of a release.

    `shown` is the version that JSON names in place of `version`.
    """
    answered = send_record(
        environment, key, model, version, done, change.timeout_s, change.tell, change.made_by
    )
    is_shadow = key.startswith(SHADOW)
    back = f"models shadow {model} --stop" if is_shadow else f"models rollback {model}"
    pending = "" if version is None else pending_text(back)
    shown = version.version if version is not None and shown is None else shown
    _print_answers(change, model, shown, pending, *answered)


def _print_answers(
    change: ChangeOptions,
    model: str,
    version: str | None,
    pending: str,
    offset: int,
    answers: Sequence[SettingAnswer],
) -> None:
    """Print what came of a record as JSON, and fail where an instance refused it or is silent.

    `pending` says how a record that is refused is taken back.
    """
    if change.as_json:
        print_json(
            {
                "model": model,
                "version": version,
                "offset": offset,
                "instances": [answer.as_dict() for answer in answers],
            }
        )
    otherwise = "`feedmill models health` shows when they do"
    check_answers(answers, change.timeout_s, "the release", otherwise, pending)


def pending_text(back: str) -> str:
    """Say what is left of a record of `models` that an instance refused, and the way back."""
    return (
        "; it stays on `models`, and an instance that starts later runs it if it can by then:"
        f" `feedmill {back}` takes it back"
    )


def send_release(
    environment: Environment,
    model: str,
    release: ModelRelease,
    timeout_s: float,
    tell: Callable[[str], None],
    made_by: MadeBy,
) -> tuple[int, list[SettingAnswer]]:
    """Write a release, and wait for the instances' answers.

    `tell` gets a line for each step.  Returns the offset of the record, and the answers.
    """
    done = f"{model}: {release.version} released"
    return send_record(environment, model, model, release, done, timeout_s, tell, made_by)


def send_record(
    environment: Environment,
    key: str,
    model: str,
    version: TriedVersion | ListRelease | None,
    done: str,
    timeout_s: float,
    tell: Callable[[str], None],
    made_by: MadeBy,
) -> tuple[int, list[SettingAnswer]]:
    """Write a record of `models`, empty for None, and wait for the instances that run a model.

    The rest as of `send_release`; `done` says what was done, `made_by` who did it and why, which
    headers say of an empty record.
    """
    value, headers = None, {"by": made_by.by, "note": made_by.note}
    if version is not None:
        value, headers = encode(version), {}
    before = last_value(environment, TOPIC, key)
    with instances_topic(environment, timeout_s) as reader:
        change = Change(TOPIC, key, value, before, headers)
        offset, at_ms = write_change(environment, made_by, change)
        instances = {} if reader is None else read_recent_instances(reader, at_ms)
        tell(f"{done} at offset {offset}")
        answers = []
        if reader is not None:
            for answer in release_answers(reader, instances, model, offset, timeout_s):
                answers.append(answer)
                tell(answer_line(answer))
    return offset, answers
