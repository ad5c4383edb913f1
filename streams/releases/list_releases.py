"""Keeps the lists of a worker's filters at their released versions, while posts flow.

    models ─► ReleaseFold ─► a thread: fetch, check, read ─► swap between cycles

Until the new version is there, and for good where it is refused, the old one goes on.  A store that
does not answer is asked again.  There is no trial in another process: a list runs nothing, and its
size is checked before it is unpacked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from feedmill.events.errors import StoreAway, UsageError
from feedmill.filters.list_store import read_list
from feedmill.filters.lists import ListSet, PostList
from feedmill.models.store_files import Store
from feedmill.streams.releases.background_loads import BackgroundLoads, StoreWaits
from feedmill.streams.releases.loading import failure_reason
from feedmill.streams.releases.release_log import ListKey, ReleasedList, ReleaseFold

log = logging.getLogger(__name__)

# Of all lists of one filter: 120 MB of digests.
MOST_ENTRIES = 10_000_000
MOST_LISTS = 32
_NEVER = -1


@runtime_checkable
class TakesLists(Protocol):
    """A step whose posts lists can decide."""

    name: str

    def swap_lists(self, lists: ListSet, version: int) -> None:
        """Go on with other lists; `version` grows with every change.  Called between cycles."""


class LoadedList(NamedTuple):
    """What the thread brings.

    Attributes
    ----------
    version
        The record that is in force from now on; None if every one was refused.
    content
        The list of that version; None where it is withdrawn.
    refusals
        Newer records, and why they were refused.
    away
        Why a record cannot be read at present: the server of the store does not answer.
    """

    version: ReleasedList | None
    content: PostList | None
    refusals: Sequence[tuple[ReleasedList, str]]
    away: str = ""


Load = Callable[[ListKey, Sequence[ReleasedList]], LoadedList]


class ListReleases:
    """The lists of a worker's filters; belongs to the loop's thread.

    Parameters
    ----------
    releases
        Which lists are released.
    steps
        The steps of the worker that take lists, by the name of the filter.
    load
        Reads the newest of some versions that can be read; called on a thread of its own.

    Attributes
    ----------
    away
        The lists that the server of the store does not give at present.
    """

    def __init__(self, releases: ReleaseFold, steps: Mapping[str, TakesLists], load: Load) -> None:
        self._releases = releases
        self._steps = steps
        self._load = load
        self._loads = BackgroundLoads[ListKey, LoadedList]("list")
        self.away = StoreWaits[ListKey]()
        # Lists with records that were not looked at; the offset is that of the last one.
        self._waiting: dict[ListKey, int] = {}
        self._in_force: dict[ListKey, tuple[int, PostList | None]] = {}
        self._refused: dict[ListKey, int] = {}

    def in_force(self) -> list[PostList]:
        """Return the lists that decide."""
        return [content for _, content in self._in_force.values() if content is not None]

    def is_settled(self) -> bool:
        """Return whether every released list is in force, refused, or waits for the store."""
        return not self._waiting and not self._loads

    def dealt_with(self, filter_name: str, offset: int) -> int:
        """Return the last record up to `offset` behind which no list of a filter waits."""
        first = [at for key, at in self._waiting.items() if key.filter == filter_name]
        first += [at for key, at, _ in self.away.reasons() if key.filter == filter_name]
        before = min([offset, *(at - 1 for at in first)])
        return self._loads.dealt_with(before, lambda key: key.filter == filter_name)

    def follow(self) -> set[str]:
        """Take what is loaded, and begin to load what came; return the filters that changed.

        Called in every cycle, after the records of `models` were read.
        """
        due = self.away.due() - self._loads.keys()
        for key in (*self._releases.take_changed_lists(), *due):
            if key.filter in self._steps and key not in self._waiting:
                self._waiting[key] = self._releases.latest_of_list(key)[0].offset
        # In the order of the records: what one list leaves free the next one may take.
        changed = set()
        for key, _, loaded in self._loads.take_done():
            self._take(key, loaded)
            changed.add(key.filter)
        for key in sorted(self._waiting.keys() - self._loads.keys(), key=self._waiting.__getitem__):
            self._begin(key, self._waiting.pop(key))
        return changed

    def close(self) -> None:
        self._loads.close()

    def _begin(self, key: ListKey, first: int) -> None:
        running = self._in_force[key][0] if key in self._in_force else _NEVER
        seen = max(running, self._refused.get(key, _NEVER))
        wanted = [one for one in self._releases.latest_of_list(key) if one.offset > seen]
        if wanted:
            self._loads.begin(key, first, partial(self._load, key, wanted))

    def _take(self, key: ListKey, loaded: LoadedList) -> None:
        for one, reason in loaded.refusals:
            self._refuse(key, one, reason)
        newest = self._releases.latest_of_list(key)[0].offset
        if loaded.away and newest > self._refused.get(key, _NEVER):
            self.away.put(key, newest, loaded.away)
        else:
            self.away.end(key)
        if loaded.version is None:
            return
        if reason := self._excess(key, loaded.content):
            self._refuse(key, loaded.version, reason)
            return
        self._in_force[key] = loaded.version.offset, loaded.content
        lists, last = self._lists_of(key.filter)
        self._steps[key.filter].swap_lists(ListSet(lists), last)
        what = "withdrawn" if loaded.content is None else f"{loaded.content.version} in force"
        log.info("%s: %s", key, what)

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
            one
            for other, (_, one) in self._in_force.items()
            if other.filter == key.filter and other != key and one is not None
        ]
        entries = len(content) + sum(map(len, others))
        if len(others) + 1 > MOST_LISTS or entries > MOST_ENTRIES:
            return (
                f"with it `{key.filter}` would have {len(others) + 1} lists with {entries:,}"
                f" entries, expected at most {MOST_LISTS} with {MOST_ENTRIES:,}; withdraw another"
                " one"
            )
        return ""

    def _refuse(self, key: ListKey, version: ReleasedList, reason: str) -> None:
        log.error("%s at offset %d is refused: %s", key, version.offset, reason)
        self._releases.refuse(str(key), version.offset, reason)
        self._refused[key] = max(self._refused.get(key, _NEVER), version.offset)


def load_list(store: Store | None, key: ListKey, wanted: Sequence[ReleasedList]) -> LoadedList:
    """Read the first of some versions of a list that can be; waits for the store."""
    refusals: list[tuple[ReleasedList, str]] = []
    for one in wanted:
        if one.release is None:
            return LoadedList(one, None, refusals)
        try:
            if store is None:
                raise UsageError(
                    "this worker has no store of lists; set FEEDMILL_MODELS where it runs"
                )
            content = read_list(store, key.filter, key.name, one.release.sha256)
        except StoreAway as error:
            return LoadedList(None, None, refusals, failure_reason(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the old version goes on
            refusals.append((one, failure_reason(error)))
        else:
            return LoadedList(one, content, refusals)
    return LoadedList(None, None, refusals)
