"""Loads the newest release of each model and list that can be loaded, beside the worker's loop.

    records of `models` ─► a thread: fetch, check, read ─► in force between two cycles

The old version goes on until the new version is loaded, and for good where that is refused.  A
release that the store's server does not give is asked for again after a pause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from feedmill.events.errors import StoreAway, UsageError
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.events.release import LIST, ListRelease
from feedmill.filters.list_store import read_list
from feedmill.filters.lists import ListSet, PostList
from feedmill.models.store_files import Store
from feedmill.streams.filters.filters import FilterStep
from feedmill.streams.releases.loading import failure_reason
from feedmill.streams.releases.release_log import ListKey, Released, ReleaseFold

log = logging.getLogger(__name__)

# Pauses before a store that did not answer is asked again; a worker that starts waits for it.
_PAUSE_S, _MOST_PAUSE_S, _MOST_AT_START_S = 5.0, 300.0, 30.0
_NEVER = -1
# The most entries that all lists of one filter may have: 120 MB of digests.
MOST_ENTRIES = 10_000_000
MOST_LISTS = 32

Key = TypeVar("Key")
Content = TypeVar("Content")
LoadList = Callable[[ListKey, Released[ListRelease]], PostList | None]


class BackgroundLoads(Generic[Key, Content]):
    """Loads one thing after another on a thread, for each key at most once at a time.

    The loop's thread calls all methods.
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
        """Remove and return what is loaded: key, offset and result, in the order of `begin`."""
        done = []
        for key, (offset, future) in self._loads.items():
            if not future.done():
                break
            done.append((key, offset, future.result()))
        for key, _, _ in done:
            del self._loads[key]
        return done

    def dealt_with(self, offset: int, is_about: Callable[[Key], bool]) -> int:
        """Return `offset`, or the last record before the first of these keys that is loading."""
        first = [begun - 1 for key, (begun, _) in self._loads.items() if is_about(key)]
        return min([offset, *first])

    def close(self) -> None:
        """Begin nothing more; do not wait for what is being loaded."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class StoreWait(NamedTuple):
    """A release that the server of the store does not give at present, and the next try."""

    offset: int
    reason: str
    pause_s: float
    next_at: float


def next_pause_s(before_s: float) -> float:
    """Return how long to wait until the store is asked again, after a pause of `before_s` or 0."""
    return min(2 * before_s, _MOST_PAUSE_S) or _PAUSE_S


class Loaded(NamedTuple, Generic[Content]):
    """The result of a load.

    Attributes
    ----------
    version
        The release that is in force from now on; None if no release could be loaded.
    content
        The model or list; None where it runs already, or where a list is withdrawn.
    refusals
        Newer releases, and why they were refused.
    away
        Why the store's server does not give a release at present; "" if it does.
    """

    version: Released[Any] | None
    content: Content | None
    refusals: Sequence[tuple[Released[Any], str]] = ()
    away: str = ""


Load = Callable[[Released[Any]], Content | None]


def load_newest(load: Load[Content], wanted: Sequence[Released[Any]]) -> Loaded[Content]:
    """Load the first release that can be loaded; waits for the store and for a trial.

    If the store does not answer, no older release is tried: it would replace the running version
    for a moment.
    """
    refusals: list[tuple[Released[Any], str]] = []
    for released in wanted:
        try:
            return Loaded(released, load(released), refusals)
        except StoreAway as error:
            return Loaded(None, None, refusals, failure_reason(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the old version goes on
            refusals.append((released, failure_reason(error)))
    return Loaded(None, None, refusals)


class NewestReleases(Generic[Key, Content]):
    """The releases in force of models, or of lists; belongs to the loop's thread.

    `load_of` returns the function that loads the releases of a key on the thread `thread_name`.
    `put` puts a release with its content in force, or returns why not.  `in_force` has the releases
    that run by key, unless the shipped version does; `away` those that the store does not give.
    """

    def __init__(
        self,
        releases: ReleaseFold,
        load_of: Callable[[Key], Load[Content]],
        put: Callable[[Key, Released[Any], Content | None], str],
        thread_name: str,
    ) -> None:
        self.in_force: dict[Key, Released[Any]] = {}
        self.away: dict[Key, StoreWait] = {}
        self._releases = releases
        self._load_of, self._put = load_of, put
        self._loads = BackgroundLoads[Key, Loaded[Content]](thread_name)
        # By key the newest record that was not looked at yet.
        self._waiting: dict[Key, int] = {}
        self._refused: dict[Key, int] = {}

    def busy(self) -> set[Key]:
        """Return the keys that are loaded now or next; not those that wait for a store."""
        return self._loads.keys() | self._waiting.keys()

    def dealt_with(self, offset: int, is_about: Callable[[Key], bool]) -> int:
        """Return `offset`, or the last record before the first one of these keys that waits."""
        waiting = [*self._waiting.items(), *((key, wait.offset) for key, wait in self.away.items())]
        before = min([offset, *(at - 1 for key, at in waiting if is_about(key))])
        return self._loads.dealt_with(before, is_about)

    def want(self, keys: Iterable[Key]) -> None:
        """Load the last releases of these keys soon."""
        for key in keys:
            self._waiting.setdefault(key, self._releases.latest(str(key))[0].offset)

    def swap_loaded(self) -> set[Key]:
        """Put in force what is loaded, begin to load what is wanted; return the keys that changed.

        Called in every cycle.
        """
        now, changed = time.monotonic(), set[Key]()
        due = {key for key, wait in self.away.items() if now >= wait.next_at}
        self.want(due - self._loads.keys())
        # In the order of the records: a list may take the room that the list before it leaves.
        for key, _, loaded in self._loads.take_done():
            self._take(key, loaded)
            changed.add(key)
        for key in sorted(self._waiting.keys() - self._loads.keys(), key=self._waiting.__getitem__):
            self._begin(key, self._waiting.pop(key))
        return changed

    def take_warm(self, key: Key, content: Content | None) -> None:
        """Put the last release of a key in force without loading it."""
        self._waiting.pop(key, None)
        self._take(key, Loaded(self._releases.latest(str(key))[0], content))

    def refuse(self, key: Key, reason: str) -> None:
        """Keep why what is in force of a key is to run no more."""
        self._refuse(key, self._running(key), reason[:MAX_REASON_CHARACTERS])

    def close(self) -> None:
        self._loads.close()

    def _running(self, key: Key) -> int:
        return self.in_force[key].offset if key in self.in_force else _NEVER

    def _begin(self, key: Key, first: int) -> None:
        """Load the newest release that is not refused, on the thread."""
        seen = max(self._running(key), self._refused.get(key, _NEVER))
        wanted = [
            released for released in self._releases.latest(str(key)) if released.offset > seen
        ]
        if wanted:
            self._loads.begin(key, first, partial(load_newest, self._load_of(key), wanted))

    def _take(self, key: Key, loaded: Loaded[Content]) -> None:
        for released, reason in loaded.refusals:
            self._refuse(key, released.offset, reason)
        newest = self._releases.latest(str(key))[0].offset
        if loaded.away and newest > self._refused.get(key, _NEVER):
            self._wait(key, newest, loaded.away)
        else:
            self.away.pop(key, None)
        version = loaded.version
        if version is None or version.offset <= self._running(key):
            return
        if reason := self._put(key, version, loaded.content):
            self._refuse(key, version.offset, reason)
        else:
            self.in_force[key] = version

    def _wait(self, key: Key, offset: int, reason: str) -> None:
        """Try a release again after a pause, each time after a longer pause."""
        before = self.away.get(key)
        is_same = before is not None and before.offset == offset
        pause_s = next_pause_s(before.pause_s if before is not None and is_same else 0.0)
        pause_s = pause_s if key in self.in_force else min(pause_s, _MOST_AT_START_S)
        self.away[key] = StoreWait(offset, reason, pause_s, time.monotonic() + pause_s)
        log.warning(
            "release of %s at offset %d waits for the store, next try in %.0f s: %s",
            key, offset, pause_s, reason,
        )  # fmt: skip

    def _refuse(self, key: Key, offset: int, reason: str) -> None:
        log.error(
            "release of %s at offset %d is refused, and stays until it is rolled back: %s",
            key, offset, reason,
        )  # fmt: skip
        self._releases.refuse(str(key), offset, reason)
        self._refused[key] = max(self._refused.get(key, _NEVER), offset)


class ListReleases:
    """Keeps the lists of a worker's filters (`steps`) at their released versions, like models.

    `load` reads a version on a thread.  There is no trial in another process: a list runs nothing,
    and its size is checked before it is unpacked.
    """

    def __init__(
        self, releases: ReleaseFold, steps: Mapping[str, FilterStep], load: LoadList
    ) -> None:
        self._steps = steps
        self.newest = NewestReleases[ListKey, PostList](
            releases, lambda key: partial(load, key), self._put, "list"
        )
        self._in_force: dict[ListKey, tuple[int, PostList | None]] = {}

    def is_settled(self) -> bool:
        """Return whether every released list is in force, refused, or waits for the store."""
        return not self.newest.busy()

    def dealt_with(self, filter_name: str, offset: int) -> int:
        """Return `offset`, or the last record before that of a list of the filter that waits."""
        return self.newest.dealt_with(offset, lambda key: key.filter == filter_name)

    def swap_loaded(self, found: Collection[str]) -> set[str]:
        """Take the keys of new records of `models`; return the filters whose lists changed.

        Called in every cycle, after the records were read.
        """
        keys = (ListKey.of(about) for about in found if about.startswith(LIST))
        self.newest.want(key for key in keys if key.filter in self._steps)
        return {key.filter for key in self.newest.swap_loaded()}

    def close(self) -> None:
        self.newest.close()

    def _put(self, key: ListKey, version: Released[ListRelease], content: PostList | None) -> str:
        if reason := self._excess(key, content):
            return reason
        self._in_force[key] = version.offset, content
        lists, last = self._lists_of(key.filter)
        self._steps[key.filter].swap_lists(ListSet(lists), last)
        log.info("%s: %s", key, "withdrawn" if content is None else f"{content.version} in force")
        return ""

    def _lists_of(self, filter_name: str) -> tuple[list[PostList], int]:
        """Return the lists in force of a filter, and the last record that is in force."""
        found = [at for key, at in self._in_force.items() if key.filter == filter_name]
        lists = [content for _, content in found if content is not None]
        return lists, max(offset for offset, _ in found)

    def _excess(self, key: ListKey, content: PostList | None) -> str:
        """Say which limit a filter would exceed with a list; "" if none."""
        if content is None:
            return ""
        others = [
            post_list
            for other, (_, post_list) in self._in_force.items()
            if other.filter == key.filter and other != key and post_list is not None
        ]
        entries = len(content) + sum(map(len, others))
        if len(others) + 1 > MOST_LISTS or entries > MOST_ENTRIES:
            return (
                f"with it `{key.filter}` would have {len(others) + 1} lists with {entries:,}"
                f" entries, expected at most {MOST_LISTS} with {MOST_ENTRIES:,}; withdraw another"
                " one"
            )
        return ""


def load_list(store: Store | None, key: ListKey, version: Released[ListRelease]) -> PostList | None:
    """Read a version of a list, None where it is withdrawn; waits for the store."""
    if version.release is None:
        return None
    if store is None:
        raise UsageError("this worker has no store of lists; set FEEDMILL_MODELS where it runs")
    return read_list(store, key.filter, key.name, version.release.sha256)
