"""Loads the newest release of a model or a list that can be, while the worker's loop goes on.

    records of `models` ─► a thread: fetch, check, read ─► in force between two cycles

Until the new version is there, and for good where it is refused, the old one goes on.  What the
server of the store does not give is asked for again, after a pause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from feedmill.events.errors import StoreAway, UsageError
from feedmill.events.release import LIST, ListRelease
from feedmill.filters.list_store import read_list
from feedmill.filters.lists import ListSet, PostList
from feedmill.models.store_files import Store
from feedmill.streams.filters.filters import FilterStep
from feedmill.streams.releases.loading import failure_reason
from feedmill.streams.releases.release_log import ListKey, Released, ReleaseFold

log = logging.getLogger(__name__)

# The pause before the store is asked again that did not answer; a worker that starts waits for it.
_PAUSE_S, _MOST_PAUSE_S, _MOST_AT_START_S = 5.0, 300.0, 30.0
_NEVER = -1
# Of all lists of one filter: 120 MB of digests.
MOST_ENTRIES = 10_000_000
MOST_LISTS = 32

Key = TypeVar("Key")
Content = TypeVar("Content")
LoadList = Callable[[ListKey, Released[ListRelease]], PostList | None]


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
    """What the thread brings.

    Attributes
    ----------
    version
        The release that is in force from now on; None if none could be loaded.
    content
        What it is a release of; None where that runs already, or is a list that is withdrawn.
    refusals
        Newer releases, and why they were refused.
    away
        Why a release cannot be loaded at present: the server of the store does not answer.  It
        may be tried again.
    """

    version: Released[Any] | None
    content: Content | None
    refusals: Sequence[tuple[Released[Any], str]] = ()
    away: str = ""


Load = Callable[[Released[Any]], Content | None]


def load_newest(load: Load[Content], wanted: Sequence[Released[Any]]) -> Loaded[Content]:
    """Load the first of some releases that can be.

    Called on a thread: waits for the store and for a trial.  Where the store does not answer, it
    tries no older release: that would replace the version that runs for a moment.
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

    Parameters
    ----------
    releases
        The records of `models`; it keeps what is refused.
    load_of
        Returns by what releases of a key are loaded; that is called on a thread.
    put
        Puts a release in force: its key, it, and its content.  Returns why not; "" if it does.
    thread_name
        That of the thread.

    Attributes
    ----------
    in_force
        The release that runs, by key; none where the shipped version does.
    away
        The releases that the server of the store does not give at present.
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
        # By key the last of the records that were not looked at.
        self._waiting: dict[Key, int] = {}
        self._refused: dict[Key, int] = {}

    def busy(self) -> set[Key]:
        """Return the keys of what waits to be loaded, but not for the store, or is being loaded."""
        return self._loads.keys() | self._waiting.keys()

    def dealt_with(self, offset: int, is_about: Callable[[Key], bool]) -> int:
        """Return the last record up to `offset` behind which nothing of these keys waits."""
        waiting = [*self._waiting.items(), *((key, wait.offset) for key, wait in self.away.items())]
        before = min([offset, *(at - 1 for key, at in waiting if is_about(key))])
        return self._loads.dealt_with(before, is_about)

    def want(self, keys: Iterable[Key]) -> None:
        """Have the last releases of these keys looked at."""
        for key in keys:
            self._waiting.setdefault(key, self._releases.latest(str(key))[0].offset)

    def follow(self) -> set[Key]:
        """Put in force what is loaded, begin to load what is wanted; return the keys that changed.

        Called in every cycle.
        """
        now, changed = time.monotonic(), set[Key]()
        due = {key for key, wait in self.away.items() if now >= wait.next_at}
        self.want(due - self._loads.keys())
        # In the order of the records: what one list leaves free the next one may take.
        for key, _, loaded in self._loads.take_done():
            self._take(key, loaded)
            changed.add(key)
        for key in sorted(self._waiting.keys() - self._loads.keys(), key=self._waiting.__getitem__):
            self._begin(key, self._waiting.pop(key))
        return changed

    def take_warm(self, key: Key, content: Content) -> None:
        """Put the last release of a key in force without loading it."""
        self._waiting.pop(key, None)
        self._take(key, Loaded(self._releases.latest(str(key))[0], content))

    def close(self) -> None:
        self._loads.close()

    def _running(self, key: Key) -> int:
        return self.in_force[key].offset if key in self.in_force else _NEVER

    def _begin(self, key: Key, first: int) -> None:
        """Have the thread load the newest release, or the newest that is not refused."""
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
        """Have a release tried again after a pause, each time a longer one."""
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
    """The lists of a worker's filters; belongs to the loop's thread.

    Parameters
    ----------
    releases
        Which lists are released.
    steps
        The filters of the worker, by name.
    load
        Reads a version; called on a thread of its own.

    Attributes
    ----------
    newest
        The versions in force, and those that the store does not give at present.
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
        """Return the last record up to `offset` behind which no list of a filter waits."""
        return self.newest.dealt_with(offset, lambda key: key.filter == filter_name)

    def follow(self, found: Collection[str]) -> set[str]:
        """Follow what records of `models` are about; return the filters whose lists changed.

        Called in every cycle, after the records were read.
        """
        keys = (ListKey.of(about) for about in found if about.startswith(LIST))
        self.newest.want(key for key in keys if key.filter in self._steps)
        return {key.filter for key in self.newest.follow()}

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
        """Say what a filter would have too much of with a list; "" if nothing."""
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
