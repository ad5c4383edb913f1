"""Which versions of models are released, and the records that release another one or go back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.instance import Instance
from feedmill.events.release import (
    CANARY,
    SHADOW,
    Canary,
    ListRelease,
    ModelRelease,
    TriedVersion,
)
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store import cards_of, find_card, local_copy
from feedmill.operations.awaited_change import AwaitedChange, Written
from feedmill.operations.changes import Change, MadeBy, last_value
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic, read_all
from feedmill.streams.releases.loading import (
    BY_TEXT,
    MODELS,
    Trial,
    shipped_sha256,
    shipped_store,
    store_of,
    try_model,
)
from feedmill.streams.releases.release_log import TOPIC, ReleaseHistory, StartedCanary
from feedmill.streams.settings.instances import SettingAnswer, release_answers

# How long a canary lasts unless somebody says otherwise.
CANARY_MS = 600_000


class WantedRelease(NamedTuple):
    """A record of `models` that is to be written.

    Attributes
    ----------
    key
        The model, or as `canary/<model>`.
    version
        What the record has; None for an empty record.
    shown
        The version that runs then.
    note
        Why, with what a rollback goes back to.
    done
        What was done once the record is written.
    """

    key: str
    model: str
    version: TriedVersion | None
    shown: str
    note: str
    done: str


def read_history(environment: Environment) -> ReleaseHistory:
    """Return what was released, by the whole topic `models`; raises what `open_topic` raises."""
    return ReleaseHistory(MODELS, read_all(environment, TOPIC))


def sha256_in_force(history: ReleaseHistory, model: str) -> str:
    """Return the version that workers are told to run: the released one, else the shipped one."""
    release = history.current(model)
    return shipped_sha256(model) if release is None else release.sha256


def chosen_card(environment: Environment, model: str, version: str | None) -> ModelCard:
    """Return the card of a version, of the one in force if None; `shipped` is a version, too."""
    shipped = shipped_store(model)
    store = environment.models or shipped
    if version == "shipped":
        version = shipped_sha256(model)
    elif version is None:
        version = sha256_in_force(read_history(environment), model)
    return find_card(store, model, version, shipped)


def tried_release(environment: Environment, card: ModelCard, by: str, note: str) -> ModelRelease:
    """Try a version in a process of its own; return its release, with the known answers.

    Raises `BadArtifact` or `UsageError` where the trial refuses it, or the store has it not.
    """
    store = store_of(card.name, environment.models, card.sha256)
    with local_copy(store, card.name, card.sha256) as folder:
        answers = try_model(Trial(card.name, card.sha256, str(folder))).answers
    return ModelRelease(card.sha256, answers, by, note)


def wanted_release(
    environment: Environment,
    made_by: MadeBy,
    model: str,
    version: str | None,
    partitions: int | None = None,
    after_ms: int = CANARY_MS,
) -> WantedRelease:
    """Try a version, and return its release, or its canary on the first so many partitions.

    `version` None is the one that was stored last.  Raises `UsageError`: the model is frozen, or
    has no canaries so; what `tried_release` raises.
    """
    read_history(environment).check_not_frozen(model)
    if partitions is not None:
        _check_canary(environment, model, partitions)
    if version is None:
        card = read_card(store_of(model, environment.models), model)
    else:
        card = chosen_card(environment, model, version)
    wanted = tried_release(environment, card, made_by.by, made_by.note)
    if partitions is None:
        return _released(model, wanted)
    tried = {name: getattr(wanted, name) for name in ("sha256", "answers", "by", "note")}
    canary = Canary(**tried, partitions=partitions, after_ms=after_ms)
    done = f"{model}: {canary.version} judges {partitions} of the partitions"
    return WantedRelease(CANARY + model, model, canary, canary.version, made_by.note, done)


def wanted_rollback(
    environment: Environment, made_by: MadeBy, model: str, to: int | None
) -> WantedRelease:
    """Return the end of the canary, else the release before the last one, or that at offset `to`.

    Raises `UsageError`: the model is frozen, or there is nothing to go back to.
    """
    history = read_history(environment)
    history.check_not_frozen(model)
    canary, shipped = history.canaries.current(model), shipped_sha256(model)
    wanted: ModelRelease | None = None
    if canary is not None and to is None:
        key, version = CANARY + model, sha256_in_force(history, model)[:12]
        note = f"end of the canary at {canary.offset}"
        done = f"{model}: the canary of {canary.canary.version} ends, {version} judges all posts"
    else:
        target = history.rollback_target(model, to, shipped)
        key, wanted, version = model, target.release, shipped[:12]
        note, done = "rollback to the shipped version", f"{model}: back to {version}, which ships,"
        if wanted is not None:
            version, note = wanted.version, f"rollback to {target.offset}"
            done = f"{model}: back to {version}"
    made_by = made_by._replace(note=f"{note}: {made_by.note}" if made_by.note else note)
    if wanted is not None:
        wanted = _renewed(wanted, made_by, frozen=False)
    return WantedRelease(key, model, wanted, version, made_by.note, done)


def wanted_freeze(environment: Environment, made_by: MadeBy, model: str) -> WantedRelease:
    """Return the release of the version in force that freezes it; `UsageError`: it is frozen."""
    history = read_history(environment)
    history.check_not_frozen(model)
    current = history.current(model)
    if current is None:
        card = chosen_card(environment, model, None)
        current = tried_release(environment, card, made_by.by, made_by.note)
    return _released(model, _renewed(current, made_by, frozen=True))


def wanted_unfreeze(environment: Environment, made_by: MadeBy, model: str) -> WantedRelease:
    """Return the release that allows others again; `UsageError`: the model is not frozen."""
    current = read_history(environment).current(model)
    if current is None or not current.frozen:
        raise UsageError(f"`{model}` is not frozen")
    return _released(model, _renewed(current, made_by, frozen=False))


def _released(model: str, release: ModelRelease) -> WantedRelease:
    done = f"{model}: {release.version} released"
    return WantedRelease(model, model, release, release.version, release.note, done)


def _renewed(release: ModelRelease, made_by: MadeBy, *, frozen: bool) -> ModelRelease:
    renewed: ModelRelease = msgspec.structs.replace(
        release, by=made_by.by, note=made_by.note, frozen=frozen, canary=None
    )
    return renewed


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


def write_release(
    change: AwaitedChange, key: str, model: str, version: TriedVersion | ListRelease | None
) -> Written:
    """Write a record of `models`, empty for None, and wait for the instances that run a model."""
    made_by = change.made_by
    # Who and why: headers of an empty record, else the version says so.
    headers = {"by": made_by.by, "note": made_by.note} if version is None else {}
    value = None if version is None else encode(version)
    record = Change(TOPIC, key, value, last_value(change.environment, TOPIC, key), headers)

    def answers_of(
        reader: TopicReader, instances: Mapping[str, Instance], offset: int, timeout_s: float
    ) -> Iterator[SettingAnswer]:
        return release_answers(reader, instances, model, offset, timeout_s)

    return change.write([record], answers_of)


def pending_text(back: str) -> str:
    """Say what is left of a record of `models` that an instance refused, and the way back."""
    return (
        "; it stays on `models`, and an instance that starts later runs it if it can by then:"
        f" `feedmill {back}` takes it back"
    )


class VersionRow(NamedTuple):
    """A version in the store, and what it does: in force, frozen, in shadow, a canary."""

    model: str
    version: str
    sha256: str
    trained: str
    state: str
    summary: str


def version_rows(
    environment: Environment, history: ReleaseHistory, name: str
) -> Iterator[VersionRow]:
    """Yield the versions of a model in the store, and the one in force wherever it is."""
    shipped = shipped_store(name)
    released, in_force = history.current(name), sha256_in_force(history, name)
    challenger, canary = history.challenger(name).release, history.canaries.current(name)
    is_here = False
    for card in cards_of(environment.models or shipped, name, shipped):
        states = ["in force"] if card.sha256 == in_force else []
        is_here = is_here or card.sha256 == in_force
        states += ["frozen"] if states and released is not None and released.frozen else []
        states += ["shipped" if card.sha256 == shipped_sha256(name) else "in the store"]
        states += ["shadow"] if challenger is not None and card.sha256 == challenger.sha256 else []
        if canary is not None and card.sha256 == canary.canary.sha256:
            states.append(f"canary (partitions: {canary.canary.partitions})")
        state = ", ".join(states)
        yield VersionRow(name, card.version, card.sha256, card.trained_on, state, card.summary)
    if not is_here:
        summary = "name the store of the workers: FEEDMILL_MODELS"
        state = "in force, not in this store"
        yield VersionRow(name, in_force[:12], in_force, "", state, summary)


class RunningRow(NamedTuple):
    """Which version an instance has of a model, a challenger or a canary, and why not another."""

    model: str
    instance: str
    version: str
    state: str
    reason: str = ""


def running_rows(history: ReleaseHistory, name: str, instance: Instance) -> Iterator[RunningRow]:
    """Yield what an instance runs of every model, beside what was released."""
    reasons = {one.offset: one.reason for one in instance.refused_releases}
    waiting = {one.offset: one.reason for one in instance.waiting_releases}
    for model, version in instance.models.items():
        if model not in MODELS:
            continue
        entries = history.entries(model)
        last = entries[-1].offset if entries else -1
        state = "shipped" if history.current(model) is None else "released"
        if last in reasons:
            state = "refused"
        elif last in waiting:
            state = "waiting"
        elif instance.models_offset < last:
            state = "loading"
        elif sha256_in_force(history, model)[:12] != version:
            state = "other version"
        reason = reasons.get(last, waiting.get(last, ""))
        yield RunningRow(model, name, version, state, reason)
        yield from canary_rows(model, name, instance, history.canaries.last(model))
        offset, challenger = history.challenger(model)
        if challenger is not None:
            reason = reasons.get(offset, "")
            is_running = instance.challengers.get(model) == challenger.version
            # One that is stopped harms nobody, so `health` does not fail.
            state = "stopped" if reason else "in shadow" if is_running else "loading"
            yield RunningRow(SHADOW + model, name, challenger.version, state, reason)


def canary_rows(
    model: str, name: str, instance: Instance, canary: StartedCanary | None
) -> Iterator[RunningRow]:
    """Yield the row of a canary of a model on an instance, if there is one."""
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
    yield RunningRow(CANARY + model, name, canary.canary.version, state, reason)
