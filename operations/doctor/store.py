"""What is wrong with the store of models: is it there, and does it have what is in force."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from feedmill.events.errors import FeedmillError
from feedmill.filters.list_store import read_list
from feedmill.models.store import local_copy
from feedmill.models.store_files import Store, file_sizes
from feedmill.operations.doctor.finding import Finding
from feedmill.operations.doctor.installation import Installation
from feedmill.streams.kafka.client import CallIsStuck, bounded
from feedmill.streams.releases.loading import MODELS, load_model, shipped_sha256, store_of
from feedmill.streams.releases.release_log import ListHistory, ReleaseHistory

# Of a store on a server: whoever waits for a doctor does not wait for minutes.
_ANSWERS_S = 4.0


def store(inst: Installation) -> Iterator[Finding]:
    """The store is there and can be read."""
    found = inst.environment.models
    if found is None:
        return
    if isinstance(found, Path):
        if not found.is_dir():
            what, way_out = "there is no such folder", f"`mkdir -p {found}`, or correct"
        elif not os.access(found, os.R_OK | os.X_OK):
            what, way_out = "the folder cannot be read", f"`chmod u+rx {found}`, or correct"
        else:
            return
        yield _finding(what, str(found), f"{way_out} FEEDMILL_MODELS")
        return
    try:
        inst.once("store", lambda: bounded(lambda: _look(found), _ANSWERS_S))
    except CallIsStuck:
        what = f"its server does not answer within {_ANSWERS_S:.0f} s"
        yield _finding(what, str(found), "start it, or correct FEEDMILL_MODELS, AWS_ENDPOINT_URL")
    except (FeedmillError, OSError) as error:
        yield _finding(
            f"it cannot be read: {error}",
            str(found),
            "correct FEEDMILL_MODELS or the AWS_… variables",
        )


def models_in_force(inst: Installation) -> Iterator[Finding]:
    """Models in force, canaries and challengers are in the store and fit this build."""
    if any(store(inst)):
        return
    history = ReleaseHistory(MODELS, inst.releases)
    for name in (one for one in inst.environment.signals.all if one in MODELS):
        release = history.current(name)
        reason = _unusable(inst, name, release.sha256 if release else shipped_sha256(name))
        if reason:
            version = "the shipped version" if release is None else f"release {release.version}"
            way_out = (
                "install feedmill again"
                if release is None
                else f"put the file back into FEEDMILL_MODELS, or"
                f" {inst.command(f'models rollback {name}')}"
            )
            yield Finding("models", "wrong", reason, f"model {name}, {version}", way_out)
        challenger = history.challenger(name).release
        if challenger is not None and (reason := _unusable(inst, name, challenger.sha256)):
            yield Finding(
                "models",
                "warn",
                reason,
                f"model {name}, challenger {challenger.version}",
                inst.command(f"models shadow {name} --stop"),
            )
        canary = history.canaries.current(name)
        if canary is not None and (reason := _unusable(inst, name, canary.canary.sha256)):
            yield Finding(
                "models",
                "wrong",
                reason,
                f"model {name}, canary {canary.canary.version}",
                inst.command(f"models rollback {name}"),
            )


def lists_in_force(inst: Installation) -> Iterator[Finding]:
    """Every list in force is in the store."""
    found = inst.environment.models
    if any(store(inst)):
        return
    for key, release in ListHistory(inst.releases).in_force().items():
        where = f"list {key.filter}/{key.name}, release {release.version}"
        withdraw = inst.command(f"lists withdraw {key.filter} {key.name}")
        if found is None:
            yield Finding(
                "lists",
                "wrong",
                "it is in force, and this process has no store that it could be in",
                where,
                f"set FEEDMILL_MODELS to the store of the workers, or {withdraw}",
            )
            continue
        try:
            read_list(found, key.filter, key.name, release.sha256)
        except FeedmillError as error:
            yield Finding("lists", "wrong", str(error), where, f"put the file back, or {withdraw}")


def refused_releases(inst: Installation) -> Iterator[Finding]:
    """No instance refuses the release in force, or waits for its store."""
    history = ReleaseHistory(MODELS, inst.releases)
    for name, one in sorted(inst.instances.items()):
        for model in (model for model in one.models if model in MODELS):
            entries = history.entries(model)
            last = entries[-1].offset if entries else -1
            for refusal in (*one.refused_releases, *one.waiting_releases):
                if (refusal.model, refusal.offset) == (model, last):
                    yield Finding(
                        "refused releases",
                        "wrong",
                        f"the release of {model} is not in force here: {refusal.reason}",
                        f"instance {name} on {one.host}",
                        "give that worker's store the artifact, and release it again; or"
                        f" {inst.command(f'models rollback {model}')}",
                    )


def _look(found: Store) -> None:
    file_sizes(found)


def _unusable(inst: Installation, name: str, sha256: str) -> str:
    """Return why a version cannot be loaded; "" if it can be."""
    return inst.once(f"model {name} {sha256}", partial(_load, inst, name, sha256))


def _load(inst: Installation, name: str, sha256: str) -> str:
    try:
        with local_copy(store_of(name, inst.environment.models, sha256), name, sha256) as folder:
            load_model(name, folder, sha256)
    except FeedmillError as error:
        return str(error)
    return ""


def _finding(what: str, where: str, way_out: str) -> Finding:
    return Finding("store", "wrong", f"store of models: {what}", where, way_out)
