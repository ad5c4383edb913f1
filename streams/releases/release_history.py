"""The topic `models` as an operator sees it: all releases, and where to go back to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from feedmill.events.decode import (
    decode_challenger,
    decode_list_release,
    decode_release,
    is_canary,
    is_challenger,
    is_list,
)
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.release import Challenger, ListRelease, ModelRelease, TriedVersion
from feedmill.filters.registry import FILTERS
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.releases.release_log import CanaryFold, ListKey, Released

# What a release of a model is called among what was done to it.
RELEASED, FROZEN = "released", "frozen"


@dataclass(frozen=True)
class HistoryRow:
    """What a record of `models` did to a model, in words, by whom and why.

    `version` is "" where it names none: an end, or a release of the version that ships.
    """

    offset: int
    at_ms: int
    what: str
    version: str
    by: str
    note: str


class ReleaseHistory:
    """The valid records of `models` by model, in the order of their offsets.

    Attributes
    ----------
    canaries
        The canary of each model.
    """

    def __init__(self, models: Sequence[str], records: Iterable[TopicRecord]) -> None:
        self._entries: dict[str, list[Released[ModelRelease]]] = {name: [] for name in models}
        self._challengers: dict[str, list[Released[Challenger]]] = {name: [] for name in models}
        self._rows: dict[str, list[HistoryRow]] = {name: [] for name in models}
        self.canaries = CanaryFold(models)
        for record in records:
            with suppress(BadEvent):
                self._take(models, record)

    def _take(self, models: Sequence[str], record: TopicRecord) -> None:
        if is_canary(record.key):
            name = self.canaries.take(record)
            last = self.canaries.last(name)
            canary, reason = (None, "") if last is None else (last.canary, last.reason)
            what = "canary ends" if canary is None or canary.ends is not None else "canary begins"
            self._note(name, record, what, canary, reason)
        elif is_challenger(record.key):
            name, challenger = decode_challenger(models, record.key, record.value)
            self._challengers[name].append(Released(record.offset, challenger))
            what = "shadow ends" if challenger is None else "scores in shadow"
            self._note(name, record, what, challenger)
        else:
            name, release = decode_release(models, record.key, record.value)
            self.canaries.take_release(name, release)
            frozen = release is not None and release.frozen
            self._note(name, record, FROZEN if frozen else RELEASED, release)
            self._entries[name].append(Released(record.offset, release))

    def _note(
        self,
        name: str,
        record: TopicRecord,
        what: str,
        version: TriedVersion | None,
        reason: str = "",
    ) -> None:
        """Add a row about a record; without a version its headers say by whom and why."""
        by, note = record.header("by"), record.header("note")
        if version is not None:
            by, note = version.by, version.note
        text = "" if version is None else version.version
        row = HistoryRow(record.offset, record.at_ms, what, text, by, reason or note)
        self._rows[name].append(row)

    def rows(self, model: str) -> Sequence[HistoryRow]:
        """Return all that was done to a model, the oldest first: canaries and shadows, too."""
        return tuple(self._rows[model])

    def entries(self, model: str) -> Sequence[Released[ModelRelease]]:
        """Return the releases of a model, the oldest first."""
        return tuple(self._entries[model])

    def current(self, model: str) -> ModelRelease | None:
        """Return the last release; None if there is none, or it is of the version that ships."""
        entries = self._entries[model]
        return entries[-1].release if entries else None

    def challenger(self, model: str) -> Released[Challenger]:
        """Return what the last record about a model's challenger says; offset -1 before any."""
        named = self._challengers[model]
        return named[-1] if named else Released(-1, None)

    def last_challenger(self, model: str) -> Challenger | None:
        """Return the last version that was to score in shadow, also where it was stopped since."""
        named = (one.release for one in reversed(self._challengers[model]))
        return next((one for one in named if one is not None), None)

    def check_not_frozen(self, model: str) -> None:
        """Refuse with `UsageError` if the model is frozen."""
        current = self.current(model)
        if current is not None and current.frozen:
            by = f" by {current.by}" if current.by else ""
            note = f" ({current.note})" if current.note else ""
            raise UsageError(
                f"`{model}` is frozen at {current.version}{by}{note};"
                f" `feedmill models unfreeze {model}` allows releases again"
            )

    def rollback_target(self, model: str, to: int | None, shipped: str) -> Released[ModelRelease]:
        """Return the release to go back to: that at offset `to`, else the last of another version.

        `shipped` is the sha256 of the version that ships.  It ran before the first release, at
        offset -1, and it is the one of a release without a version.

        Raises
        ------
        UsageError
            No other version ran, or `to` is not the offset of one of its releases.
        """
        entries = self._entries[model]
        if to is not None:
            for entry in entries:
                if entry.offset == to:
                    return entry
            raise UsageError(
                f"`{model}` has no release at offset {to}; `feedmill models list {model}` lists"
                " them"
            )
        ran = [(shipped, Released[ModelRelease](-1, None))]
        ran += [(one.release.sha256 if one.release else shipped, one) for one in entries]
        for sha256, entry in reversed(ran):
            if sha256 != ran[-1][0]:
                return entry
        raise UsageError(
            f"`{model}` has run no other version than {shipped[:12]}, which ships, so there is"
            " nothing to go back to"
        )


class ListHistory:
    """The valid records of `models` about lists, in the order of their offsets."""

    def __init__(self, records: Iterable[TopicRecord]) -> None:
        self._records: dict[ListKey, list[Released[ListRelease]]] = {}
        for record in records:
            if is_list(record.key):
                with suppress(BadEvent):
                    filter_name, name, release = decode_list_release(
                        FILTERS, record.key, record.value
                    )
                    found = self._records.setdefault(ListKey(filter_name, name), [])
                    found.append(Released(record.offset, release))

    def last(self) -> dict[ListKey, Released[ListRelease]]:
        """Return the last valid record of each list."""
        return {key: records[-1] for key, records in self._records.items()}

    def in_force(self) -> dict[ListKey, ListRelease]:
        """Return the release of each list whose last record does not withdraw it."""
        last = {key: one.release for key, one in self.last().items()}
        return {key: release for key, release in last.items() if release is not None}

    def rollback_target(self, key: ListKey) -> ListRelease | None:
        """Return the release before the last record of another version; None: there was none.

        Raises
        ------
        UsageError
            The list was never released.
        """
        releases = [one.release for one in self._records.get(key, ())]
        if not releases:
            raise UsageError(f"`{key}` was never released, so there is nothing to go back from")
        now = None if releases[-1] is None else releases[-1].sha256
        earlier = (one for one in reversed(releases) if one is not None)
        return next((one for one in earlier if one.sha256 != now), None)
