"""`feedmill models release|rollback|freeze|unfreeze|shadow`: what changes which version runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click
import msgspec

from feedmill.cli.awaited_change import (
    ChangeOptions,
    instances_topic,
    told_answers,
    with_noted_change,
)
from feedmill.cli.duration import Duration
from feedmill.cli.models.versions import chosen_card, model_argument, read_history, sha256_in_force
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.instance import Instance
from feedmill.events.release import (
    CANARY,
    CORE_SHARE,
    SHADOW,
    Canary,
    Challenger,
    ListRelease,
    ModelRelease,
    TriedVersion,
)
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store import local_copy
from feedmill.operations.changes import Change, last_value, write_change
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import open_topic
from feedmill.streams.releases.loading import BY_TEXT, Trial, shipped_sha256, store_of, try_model
from feedmill.streams.releases.release_log import TOPIC, StartedCanary
from feedmill.streams.settings.instances import (
    SettingAnswer,
    read_recent_instances,
    release_answers,
)

# How long a canary lasts unless the command says otherwise.
_CANARY_MS = 600_000


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
        _check_canary(environment, model, partitions)
    if version is None:
        card = read_card(store_of(model, environment.models), model)
    else:
        card = chosen_card(environment, model, version)
    wanted = tried_release(environment, card, change.by, change.note)
    if partitions is None:
        _send_and_wait(environment, change, model, wanted)
        return
    tried = {name: getattr(wanted, name) for name in ("sha256", "answers", "by", "note")}
    canary = Canary(**tried, partitions=partitions, after_ms=after_ms or _CANARY_MS)
    done = f"{model}: {canary.version} judges {partitions} of the partitions"
    _send_tried(environment, change, CANARY + model, model, canary, done)


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
        wanted = _renewed(wanted, change, frozen=False)
    _send_tried(environment, change, key, model, wanted, done, version)


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
    _send_and_wait(environment, change, model, _renewed(current, change, frozen=True))


@click.command("unfreeze")
@model_argument
@with_noted_change
def unfreeze(environment: Environment, change: ChangeOptions, model: str) -> None:
    """Allow releases again."""
    current = read_history(environment).current(model)
    if current is None or not current.frozen:
        raise UsageError(f"`{model}` is not frozen")
    _send_and_wait(environment, change, model, _renewed(current, change, frozen=False))


@click.command("shadow")
@click.argument("model", type=click.Choice(BY_TEXT))
@click.argument("version", required=False)
@click.option("--stop", is_flag=True, help="End it: no version scores in shadow.")
@click.option(
    "--core-share",
    type=click.FloatRange(min=0, min_open=True, max=1),
    default=CORE_SHARE,
    show_default=True,
    metavar="SHARE",
    help="How much of one core it may take of each worker.",
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
    challenger at most. Each worker needs the artifact in its own store.
    """
    if stop == (version is not None):
        raise click.UsageError("give either a VERSION or --stop")
    history = read_history(environment)
    challenger = None
    if version is None:
        running = history.challenger(model).release
        if running is None:
            raise UsageError(f"no version of `{model}` scores in shadow")
        done = f"{model}: {running.version} stopped"
    else:
        card = chosen_card(environment, model, version)
        tried = tried_release(environment, card, change.by, change.note)
        challenger = Challenger(tried.sha256, tried.answers, tried.by, tried.note, core_share)
        done = f"{model}: {challenger.version} scores in shadow"
    _send_tried(environment, change, SHADOW + model, model, challenger, done)


def _check_canary(environment: Environment, model: str, partitions: int) -> None:
    """Refuse with `UsageError` a canary that could not be one."""
    if model not in BY_TEXT:
        raise UsageError(
            f"`{model}` has no canaries, only {', '.join(BY_TEXT)} have; release it to all"
        )
    with open_topic(environment, "posts") as reader:
        count = reader.partitions
    if partitions >= count:
        raise UsageError(
            f"--canary {partitions}: `posts` has {count} partitions; give fewer, or release the"
            " version to all of them without --canary"
        )


def tried_release(environment: Environment, card: ModelCard, by: str, note: str) -> ModelRelease:
    """Try a version in a process of its own; return its release, with the known answers.

    Raises `BadArtifact` or `UsageError` where the trial refuses it, or the store has it not.
    """
    store = store_of(card.name, environment.models, card.sha256)
    with local_copy(store, card.name, card.sha256) as folder:
        answers = try_model(Trial(card.name, card.sha256, str(folder))).answers
    return ModelRelease(card.sha256, answers, by, note)


def _renewed(release: ModelRelease, change: ChangeOptions, *, frozen: bool) -> ModelRelease:
    renewed: ModelRelease = msgspec.structs.replace(
        release, by=change.by, note=change.note, frozen=frozen, canary=None
    )
    return renewed


def _send_and_wait(
    environment: Environment, change: ChangeOptions, model: str, release: ModelRelease
) -> None:
    done = f"{model}: {release.version} released"
    _send_tried(environment, change, model, model, release, done)


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
        is_shadow = key.startswith(SHADOW)
        back = f"models shadow {model} --stop" if is_shadow else f"models rollback {model}"
        pending = pending_text(back)
    found = {"model": model, "version": shown, "offset": offset}
    otherwise = "`feedmill models health` shows when they do"
    change.report(found, answers, "the release", otherwise, pending)


def pending_text(back: str) -> str:
    """Say what is left of a record of `models` that an instance refused, and the way back."""
    return (
        "; it stays on `models`, and an instance that starts later runs it if it can by then:"
        f" `feedmill {back}` takes it back"
    )


def send_record(
    environment: Environment,
    change: ChangeOptions,
    key: str,
    model: str,
    version: TriedVersion | ListRelease | None,
    done: str,
) -> tuple[int, list[SettingAnswer]]:
    """Write a record of `models`, empty for None, and wait for the instances that run a model.

    `done` says what was done.  Returns the offset of the record, and the answers.
    """
    # Who and why: headers of an empty record, else the version says so.
    headers = {"by": change.by, "note": change.note} if version is None else {}
    value = None if version is None else encode(version)
    written = Change(TOPIC, key, value, last_value(environment, TOPIC, key), headers)
    with instances_topic(environment, change.timeout_s) as reader:
        offset, at_ms = write_change(environment, change.made_by, written)
        instances = {} if reader is None else read_recent_instances(reader, at_ms)
        change.tell(f"{done} at offset {offset}")
        if reader is None:
            return offset, []
        found = release_answers(reader, instances, model, offset, change.timeout_s)
        return offset, [*told_answers(found, change.tell)]


def canary_rows(
    model: str, name: str, instance: Instance, canary: StartedCanary | None
) -> Iterator[dict[str, str]]:
    """Yield the row of `health` about a canary of a model on an instance, if there is one."""
    if canary is None:
        return
    refusals = (one for one in instance.refused_releases if one.model == CANARY + model)
    reasons = {one.offset: one.reason for one in refusals}
    reason = reasons.get(canary.offset, "")
    if not canary.is_under_way:
        state, reason = "went back", canary.reason
    elif reason:
        state = "stopped"
    elif instance.canaries.get(model) == canary.canary.version:
        state = "canary"
    else:
        state = "loading"
    yield {
        "model": CANARY + model,
        "instance": name,
        "version": canary.canary.version,
        "state": state,
        "reason": reason,
    }
