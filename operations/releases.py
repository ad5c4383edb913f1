"""Which versions of models are released, and the records that release another one or go back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.instance import ComparedPosts, Instance
from feedmill.events.release import (
    CANDIDATE,
    MAY_DEMOTE,
    MAY_HIDE,
    Candidate,
    ListRelease,
    ModelRelease,
    TriedVersion,
)
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard, cards_of, find_card, local_copy, read_card
from feedmill.operations.changes import AwaitedChange, Change, MadeBy, Written, last_value
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic, read_all
from feedmill.streams.releases.candidate_verdict import verdict
from feedmill.streams.releases.loading import (
    MODELS,
    Trial,
    shipped_sha256,
    shipped_store,
    store_of,
    try_model,
)
from feedmill.streams.releases.release_log import BY_TEXT, TOPIC, ReleaseFold, StartedCandidate
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.instances import SettingAnswer, release_answers

# How long the workers may take to decide about a candidate unless somebody says otherwise; one of a
# model without a gate is released then.
FILTER_MS, RANKER_MS = 3 * 24 * 3_600_000, 600_000


class Canary(NamedTuple):
    """How a version is tried on some partitions before its release: see `Candidate`."""

    partitions: int
    after_ms: int | None = None
    may_hide: float = MAY_HIDE
    may_demote: float = MAY_DEMOTE


class WantedRelease(NamedTuple):
    """A record of `models` that is to be written.

    Attributes
    ----------
    key
        The model, or as `candidate/<model>`.
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


def read_history(environment: Environment) -> ReleaseFold:
    """Return what was released, by the whole topic `models`; raises what `open_topic` raises."""
    return ReleaseFold.of(MODELS, read_all(environment, TOPIC))


def sha256_in_force(history: ReleaseFold, model: str) -> str:
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
    canary: Canary | None = None,
) -> WantedRelease:
    """Try a version, and return its release, or the canary that judges some partitions first.

    `version` None is the one that was stored last.  Raises `UsageError`: the model is frozen, or
    has no canaries so; what `tried_release` raises.
    """
    read_history(environment).check_not_frozen(model)
    if canary is not None:
        _check_canary(environment, model, canary.partitions)
    if version is None:
        card = read_card(store_of(model, environment.models), model)
    else:
        card = chosen_card(environment, model, version)
    wanted = tried_release(environment, card, made_by.by, made_by.note)
    if canary is None:
        return _released(model, wanted)
    after_ms = canary.after_ms or (FILTER_MS if model in FILTERS else RANKER_MS)
    candidate = candidate_of(
        wanted,
        partitions=canary.partitions,
        promotes=True,
        may_hide=canary.may_hide,
        may_demote=canary.may_demote,
        until_ms=now_ms() + after_ms,
    )
    done = f"{model}: {candidate.version} judges {canary.partitions} of the partitions"
    return WantedRelease(CANDIDATE + model, model, candidate, candidate.version, made_by.note, done)


def candidate_of(tried: TriedVersion, **fields: Any) -> Candidate:
    """Return the candidate that tries a version, with these fields."""
    same = {name: getattr(tried, name) for name in TriedVersion.__struct_fields__}
    return Candidate(**same, **fields)


def wanted_rollback(
    environment: Environment, made_by: MadeBy, model: str, to: int | None
) -> WantedRelease:
    """Return the end of the candidate, else the release before the last, or that at offset `to`.

    Raises `UsageError`: the model is frozen, or there is nothing to go back to.
    """
    history = read_history(environment)
    history.check_not_frozen(model)
    candidate, shipped = history.candidate(model), shipped_sha256(model)
    wanted: ModelRelease | None = None
    if candidate is not None and to is None:
        key, version = CANDIDATE + model, sha256_in_force(history, model)[:12]
        note = f"end of the candidate at {candidate.offset}"
        done = f"{model}: the trial of {candidate.record.version} ends, {version} judges all posts"
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
        release, by=made_by.by, note=made_by.note, frozen=frozen, candidate=None
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
    """A version in the store, and what it does: in force, frozen, a candidate."""

    model: str
    version: str
    sha256: str
    trained: str
    state: str
    summary: str


def version_rows(environment: Environment, history: ReleaseFold, name: str) -> Iterator[VersionRow]:
    """Yield the versions of a model in the store, and the one in force wherever it is."""
    shipped = shipped_store(name)
    released, in_force = history.current(name), sha256_in_force(history, name)
    candidate = history.candidate(name)
    is_here = False
    for card in cards_of(environment.models or shipped, name, shipped):
        states = ["in force"] if card.sha256 == in_force else []
        is_here = is_here or card.sha256 == in_force
        states += ["frozen"] if states and released is not None and released.frozen else []
        states += ["shipped" if card.sha256 == shipped_sha256(name) else "in the store"]
        if candidate is not None and card.sha256 == candidate.record.sha256:
            partitions = candidate.record.partitions
            states.append(f"canary (partitions: {partitions})" if partitions else "shadow")
        state = ", ".join(states)
        yield VersionRow(name, card.version, card.sha256, card.trained_on, state, card.summary)
    if not is_here:
        summary = "name the store of the workers: FEEDMILL_MODELS"
        state = "in force, not in this store"
        yield VersionRow(name, in_force[:12], in_force, "", state, summary)


class RunningRow(NamedTuple):
    """Which version an instance has of a model or a candidate, and why not another."""

    model: str
    instance: str
    version: str
    state: str
    reason: str = ""


def running_rows(history: ReleaseFold, name: str, instance: Instance) -> Iterator[RunningRow]:
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
        yield from candidate_rows(model, name, instance, history.last_candidate(model))


def candidate_rows(
    model: str, name: str, instance: Instance, candidate: StartedCandidate | None
) -> Iterator[RunningRow]:
    """Yield the row of a candidate of a model on an instance, if there is one."""
    if candidate is None:
        return
    refusals = (one for one in instance.refused_releases if one.model == CANDIDATE + model)
    reason = {one.offset: one.reason for one in refusals}.get(candidate.offset, "")
    running = instance.candidates.get(model)
    if not candidate.is_under_way:
        state, reason = "went back", candidate.reason
    elif reason:
        state = "stopped"
    elif running is not None and running.offset == candidate.offset:
        state = "canary" if candidate.record.partitions else "in shadow"
        total = ComparedPosts()
        for counts in running.compared.values():
            total = total.plus(counts)
        reason = verdict(candidate.record, total).reason if model in FILTERS else ""
    else:
        state = "loading"
    yield RunningRow(CANDIDATE + model, name, candidate.record.version, state, reason)


def differing_versions(instances: Iterable[Instance]) -> dict[str, str]:
    """Return by model which versions of it run and where, in words; a model with one is left out.

    Compared are instances that have dealt with the same records of `models`: the others load still.
    A candidate's version is no difference: instances name it apart.
    """
    where: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for one in instances:
        for model, version in one.models.items():
            where[model, one.models_offset][version] = f"{one.instance} on {one.host}"
    return {
        model: "; ".join(f"{version} in {who}" for version, who in sorted(found.items()))
        for (model, _), found in sorted(where.items())
        if len(found) > 1
    }
