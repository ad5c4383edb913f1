"""The topic `models` as an operator sees it: every release of a list, and where to go back to."""

from __future__ import annotations

from collections.abc import Iterable

from feedmill.events.decode import decode_list_release, is_list
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.release import ListRelease
from feedmill.filters.registry import FILTERS
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.releases.release_log import ListKey


class ListHistory:
    """The valid records of `models` about lists, in the order of their offsets."""

    def __init__(self, records: Iterable[TopicRecord]) -> None:
        self._releases: dict[ListKey, list[ListRelease | None]] = {}
        for record in records:
            if not is_list(record.key):
                continue
            try:
                filter_name, name, release = decode_list_release(FILTERS, record.key, record.value)
            except BadEvent:
                continue
            self._releases.setdefault(ListKey(filter_name, name), []).append(release)

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
