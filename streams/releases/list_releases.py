"""Keeps the lists of a worker's filters at their released versions.

There is no trial in another process: a list runs nothing, and its size is checked before it is
unpacked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial

from feedmill.events.errors import UsageError
from feedmill.events.release import LIST, ListRelease
from feedmill.filters.list_store import read_list
from feedmill.filters.lists import ListSet, PostList
from feedmill.models.store_files import Store
from feedmill.streams.filters.filters import FilterStep
from feedmill.streams.releases.newest_releases import NewestReleases
from feedmill.streams.releases.release_log import ListKey, Released, ReleaseFold

log = logging.getLogger(__name__)

# Of all lists of one filter: 120 MB of digests.
MOST_ENTRIES = 10_000_000
MOST_LISTS = 32


Load = Callable[[ListKey, Released[ListRelease]], PostList | None]


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

    def __init__(self, releases: ReleaseFold, steps: Mapping[str, FilterStep], load: Load) -> None:
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
        keys = (ListKey.of(one) for one in found if one.startswith(LIST))
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


def load_list(store: Store | None, key: ListKey, version: Released[ListRelease]) -> PostList | None:
    """Read a version of a list, None where it is withdrawn; waits for the store."""
    if version.release is None:
        return None
    if store is None:
        raise UsageError("this worker has no store of lists; set FEEDMILL_MODELS where it runs")
    return read_list(store, key.filter, key.name, version.release.sha256)
