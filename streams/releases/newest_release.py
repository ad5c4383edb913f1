"""Loads the newest release of a model that can be used; called on a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from feedmill.events.errors import StoreAway
from feedmill.models.store import local_copy
from feedmill.models.store_files import Store
from feedmill.streams.releases.background_loads import failure_reason
from feedmill.streams.releases.known_answers import AnyModel, answers_of
from feedmill.streams.releases.loading import Trial, load_model, store_of, try_model
from feedmill.streams.releases.release_log import ReleasedVersion


class Loaded(NamedTuple):
    """What the thread brings.

    Attributes
    ----------
    model
        None where it runs already.
    version
        The release that is in force from now on; None if none could be loaded.
    refusals
        Newer releases, and why they were refused.
    away
        Why a release cannot be loaded at present: the server of the store does not answer.  It
        may be tried again.
    """

    model: AnyModel | None
    version: ReleasedVersion | None
    refusals: Sequence[tuple[ReleasedVersion, str]] = ()
    away: str = ""


def load_newest(
    name: str, store: Store | None, wanted: Sequence[ReleasedVersion], current: str
) -> Loaded:
    """Load the first of some releases that can be; no model where it is the current version.

    Waits for the store and for the trial.  Where the store does not answer, it tries no older
    release: that would replace the version that runs for a moment.
    """
    refusals: list[tuple[ReleasedVersion, str]] = []
    for one in wanted:
        try:
            return Loaded(_load(name, store, one, current), one, refusals)
        except StoreAway as error:
            return Loaded(None, None, refusals, failure_reason(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the old model goes on
            refusals.append((one, failure_reason(error)))
    return Loaded(None, None, refusals)


def _load(name: str, store: Store | None, one: ReleasedVersion, current: str) -> AnyModel | None:
    release = one.release
    if release is None:
        model = load_model(name, store)
        return None if model.version == current else model
    with local_copy(store_of(name, store, release.sha256), name, release.sha256) as folder:
        try_model(Trial(name, release.sha256, str(folder), release.answers))
        if release.version == current:
            return None
        model = load_model(name, folder, release.sha256)
    # The first call is ten times as slow as the next; let no post wait for it.
    answers_of(model)
    return model
