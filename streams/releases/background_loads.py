"""Loads versions of models and lists on a thread, while the worker's loop goes on.

What the server of the store does not give is asked for again, after a pause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from feedmill.events.errors import StoreAway
from feedmill.models.store_files import Store
from feedmill.streams.releases.known_answers import AnyModel
from feedmill.streams.releases.loading import failure_reason, load_model, load_tried
from feedmill.streams.releases.release_log import ReleasedVersion

log = logging.getLogger(__name__)

# Before the store is asked again that did not answer.
_PAUSE_S, _MOST_PAUSE_S = 5.0, 300.0

Key = TypeVar("Key")
Content = TypeVar("Content")


class BackgroundLoads(Generic[Key, Content]):
    """What is being loaded, at most once for each key; belongs to the loop's thread.

    `thread_name` is that of the thread, on which all loads run one after another.
    """

    def __init__(self, thread_name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=thread_name)
        self._loads: dict[Key, tuple[int, Future[Content]]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._loads

    def __len__(self) -> int:
        return len(self._loads)

    def keys(self) -> set[Key]:
        """Return the keys of what is being loaded."""
        return set(self._loads)

    def begin(self, key: Key, offset: int, load: Callable[[], Content]) -> None:
        """Have the thread load what the record at an offset is about; `load` raises nothing."""
        self._loads[key] = offset, self._thread.submit(load)

    def take_done(self) -> list[tuple[Key, int, Content]]:
        """Take out what is loaded: key, offset and result of each, in the order of `begin`."""
        done = []
        for key, (offset, future) in self._loads.items():
            if not future.done():
                break
            done.append((key, offset, future.result()))
        for key, _, _ in done:
            del self._loads[key]
        return done

    def dealt_with(self, offset: int, is_about: Callable[[Key], bool]) -> int:
        """Return the last record up to `offset` behind which nothing of these keys is loading."""
        first = [begun - 1 for key, (begun, _) in self._loads.items() if is_about(key)]
        return min([offset, *first])

    def close(self) -> None:
        """Begin nothing more; do not wait for what is being loaded."""
        self._thread.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Wait:
    """A release that the server of the store does not give at present, and the next try."""

    offset: int
    reason: str
    pause_s: float
    next_at: float


class StoreWaits(Generic[Key]):
    """The releases that the server of the store does not give at present, one of each key."""

    def __init__(self) -> None:
        self._waits: dict[Key, _Wait] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._waits

    def reasons(self) -> list[tuple[Key, int, str]]:
        """Return the key, the offset and the reason of each."""
        return [(key, one.offset, one.reason) for key, one in self._waits.items()]

    def due(self) -> set[Key]:
        """Return the keys whose pause is over."""
        now = time.monotonic()
        return {key for key, one in self._waits.items() if now >= one.next_at}

    def put(self, key: Key, offset: int, reason: str) -> None:
        """Have a release tried again after a pause, each time a longer one."""
        before = self._waits.get(key)
        is_same = before is not None and before.offset == offset
        pause_s = next_pause_s(before.pause_s if before is not None and is_same else 0.0)
        self._waits[key] = _Wait(offset, reason, pause_s, time.monotonic() + pause_s)
        log.warning(
            "release of %s at offset %d waits for the store, next try in %.0f s: %s",
            key, offset, pause_s, reason,
        )  # fmt: skip

    def end(self, key: Key) -> None:
        """Wait for it no more."""
        self._waits.pop(key, None)


def next_pause_s(before_s: float) -> float:
    """Return how long to wait until the store is asked again, after a pause of `before_s` or 0."""
    return min(2 * before_s, _MOST_PAUSE_S) or _PAUSE_S


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

    Called on a thread: waits for the store and for the trial.  Where the store does not answer, it
    tries no older release: that would replace the version that runs for a moment.
    """
    refusals: list[tuple[ReleasedVersion, str]] = []
    for one in wanted:
        try:
            tried = one.release
            model = load_tried(name, store, tried)[0] if tried else load_model(name, store)
            return Loaded(None if model.version == current else model, one, refusals)
        except StoreAway as error:
            return Loaded(None, None, refusals, failure_reason(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the old model goes on
            refusals.append((one, failure_reason(error)))
    return Loaded(None, None, refusals)
