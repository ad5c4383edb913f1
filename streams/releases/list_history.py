"""The topic `models` as an operator sees it: every release of a list, and where to go back to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from feedmill.events.decode import decode_list_release, is_list
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.release import ListRelease
from feedmill.filters.registry import FILTERS
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.releases.release_log import ListKey


class LastRecord(NamedTuple):
    """The offset of the last record about a list, and its release; None: it was withdrawn."""

    offset: int
    release: ListRelease | None


class ListHistory:
    """The valid records of `models` about lists, in the order of their offsets."""

    def __init__(self, records: Iterable[TopicRecord]) -> None:
        self._releases: dict[ListKey, list[ListRelease | None]] = {}
        self._offsets: dict[ListKey, int] = {}
        for record in records:
            if not is_list(record.key):
                continue
            try:
                filter_name, name, release = decode_list_release(FILTERS, record.key, record.value)
            except BadEvent:
                continue
            key = ListKey(filter_name, name)
            self._releases.setdefault(key, []).append(release)
            self._offsets[key] = record.offset

    def last(self) -> dict[ListKey, LastRecord]:
        """Return the last valid record of each list."""
        return {key: LastRecord(self._offsets[key], one[-1]) for key, one in self._releases.items()}

    def in_force(self) -> dict[ListKey, ListRelease]:
        """Return the release of each list whose last record does not withdraw it."""
        last = {key: releases[-1] for key, releases in self._releases.items()}
        return {key: release for key, release in last.items() if release is not None}

    def rollback_target(self, key: ListKey) -> ListRelease | None:
        """Return the release before the last record of another version; None: there was none.

        Raises
        ------
        UsageError
            The list was never released.
        """
        releases = self._releases.get(key)
        if not releases:
            raise UsageError(f"`{key.key}` was never released, so there is nothing to go back from")
        now = releases[-1]
        earlier = (one for one in reversed(releases) if one is not None)
        if now is None:
            return next(earlier, None)
        return next((one for one in earlier if one.sha256 != now.sha256), None)
