"""Folds the topic `models`: what is released and was before, for workers and for operators."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from feedmill.events.decode import (
    decode_canary,
    decode_challenger,
    decode_list_release,
    decode_release,
    is_canary,
    is_challenger,
    is_list,
)
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.instance import RefusedRelease
from feedmill.events.release import (
    CANARY,
    LIST,
    SHADOW,
    Canary,
    Challenger,
    ListRelease,
    ModelRelease,
    TriedVersion,
)
from feedmill.filters.registry import FILTERS
from feedmill.streams.kafka.batch_headers import reason_of
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.topic_reader import TopicRecord

TOPIC = "models"
_SOURCE = TopicPartition(TOPIC, 0)
_MOST_RECORDS = 1000
_KEPT_REFUSALS = 50
# So many releases a worker that starts may go back to find one that it can run.
_KEPT_RELEASES = 5


Version = TypeVar("Version")
# How `HistoryRow.what` names a release of a model.
RELEASED, FROZEN = "released", "frozen"


class Released(NamedTuple, Generic[Version]):
    """What a record of `models` releases, and its offset.

    `release` None takes earlier releases back: the shipped version runs, no challenger scores, or
    the list is withdrawn.
    """

    offset: int
    release: Version | None


class ListKey(NamedTuple):
    """The filter and the name of a list."""

    filter: str
    name: str

    @classmethod
    def of(cls, key: str) -> ListKey:
        """Return the filter and the name that the key of a record has."""
        return cls(*key.removeprefix(LIST).split("/", 1))

    def __str__(self) -> str:
        """The key of its records."""
        return f"{LIST}{self.filter}/{self.name}"


class StartedCanary(NamedTuple):
    """A canary and the offset of the record that began it; `reason` is the alarm that ended it."""

    offset: int
    canary: Canary
    reason: str = ""

    @property
    def is_under_way(self) -> bool:
        return self.canary.ends is None


class CanaryFold:
    """Applies records about canaries, and releases, which end them.

    Several processes may write how a canary ends; the first such record counts.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._models = tuple(models)
        self._last: dict[str, StartedCanary] = {}

    def apply(self, record: Record | TopicRecord) -> str:
        """Apply a record whose key is that of a canary; return the model.

        Raises `BadEvent`: it breaks the contract, or ends a canary that is not under way.
        """
        name, canary = decode_canary(self._models, record.key, record.value)
        if canary is None:
            self._last.pop(name, None)
        elif canary.ends is None:
            self._last[name] = StartedCanary(record.offset, canary)
        else:
            self._check_under_way(name, canary.ends)
            self._last[name] = StartedCanary(canary.ends, canary, canary.reason)
        return name

    def apply_release(self, model: str, release: ModelRelease | None) -> None:
        """Apply a release, None of the shipped version: it ends a canary of the model.

        Raises `BadEvent`: it promotes a canary that is not under way.
        """
        if release is not None and release.canary is not None:
            self._check_under_way(model, release.canary)
        self._last.pop(model, None)

    def current(self, model: str) -> StartedCanary | None:
        """Return the canary that is under way."""
        last = self._last.get(model)
        return last if last is not None and last.is_under_way else None

    def last(self, model: str) -> StartedCanary | None:
        """Return the canary under way, or the one that an alarm ended since the last release."""
        return self._last.get(model)

    def _check_under_way(self, model: str, offset: int) -> None:
        current = self.current(model)
        if current is None or current.offset != offset:
            raise BadEvent(f"the canary of `{model}` that began at {offset} is not under way")


class ReleaseFold:
    """Applies the records of `models` in order; keeps the last `kept` of each key, None: all.

    Attributes
    ----------
    offset
        The last record; -1 before the first.
    refused
        The last 50 records that were refused, by this fold or by a load.
    refused_count
        How many were refused in all.
    canaries
        The canary of each model.
    """

    def __init__(self, models: Sequence[str], *, kept: int | None = _KEPT_RELEASES) -> None:
        self.offset = -1
        self.refused: deque[RefusedRelease] = deque(maxlen=_KEPT_REFUSALS)
        self.refused_count = 0
        self.canaries = CanaryFold(models)
        self._models = tuple(models)
        self._kept = kept
        self._records: dict[str, deque[Released[Any]]] = {}

    def apply(self, record: Record | TopicRecord) -> str | None:
        """Apply the next record; return its key, None if the record is refused.

        The key is a model, ``shadow/<model>`` of a challenger, ``canary/<model>`` of a canary, or
        that of a list.
        """
        self.offset = record.offset
        try:
            if is_canary(record.key):
                return CANARY + self.canaries.apply(record)
            key, release = self._decode(record)
        except BadEvent as error:
            key = (record.key or b"").decode("utf-8", "replace")[:256]
            self.refuse(key, record.offset, reason_of(record.value, error))
            return None
        found = self._records.setdefault(key, deque(maxlen=self._kept))
        found.append(Released(record.offset, release))
        return key

    def _decode(self, record: Record | TopicRecord) -> tuple[str, Any]:
        if is_challenger(record.key):
            name, challenger = decode_challenger(self._models, record.key, record.value)
            return SHADOW + name, challenger
        if is_list(record.key):
            filter_name, name, content = decode_list_release(FILTERS, record.key, record.value)
            return str(ListKey(filter_name, name)), content
        name, release = decode_release(self._models, record.key, record.value)
        self.canaries.apply_release(name, release)
        return name, release

    def refuse(self, key: str, offset: int, reason: str) -> None:
        """Keep why a release is not in force."""
        self.refused.append(RefusedRelease(key, offset, reason))
        self.refused_count += 1

    def latest(self, key: str) -> Sequence[Released[Any]]:
        """Return the last records about a model or a list, the newest first."""
        return tuple(reversed(self._records.get(key, ())))

    def challenger(self, model: str) -> Released[Challenger]:
        """Return what the last record about a model's challenger says; offset -1 before any."""
        return next(iter(self.latest(SHADOW + model)), Released(-1, None))


class ReleaseLog(ReleaseFold):
    """The releases so far; `follow` reads on, without waiting."""

    def __init__(self, connection: Connection, models: Sequence[str]) -> None:
        super().__init__(models)
        self.log = LogConsumer(connection, TOPIC)
        self.log.add({_SOURCE: BEGINNING})

    def follow(self) -> set[str]:
        """Apply the records that came; return their keys, as `apply`."""
        batches = self.log.read(_MOST_RECORDS)
        names = (self.apply(record) for batch in batches for record in batch.records)
        return {name for name in names if name is not None}

    def close(self) -> None:
        self.log.close()


@dataclass(frozen=True)
class HistoryRow:
    """What a record of `models` did to a model, in words, by whom and why.

    `version` is "" for an end, and for a release of the shipped version.
    """

    offset: int
    at_ms: int
    what: str
    version: str
    by: str
    note: str


class ReleaseHistory(ReleaseFold):
    """The valid records of `models` in the order of their offsets, and what they did in words."""

    def __init__(self, models: Sequence[str], records: Iterable[TopicRecord]) -> None:
        super().__init__(models, kept=None)
        self._rows: dict[str, list[HistoryRow]] = {name: [] for name in models}
        for record in records:
            key = self.apply(record)
            if key is not None and not key.startswith(LIST):
                self._rows[key.rpartition("/")[2]].append(self._row(key, record))

    def _row(self, key: str, record: TopicRecord) -> HistoryRow:
        """Return what a record did; without a version its headers say by whom and why."""
        version: TriedVersion | None
        reason = ""
        if key.startswith(CANARY):
            last = self.canaries.last(key.removeprefix(CANARY))
            version, reason = (None, "") if last is None else (last.canary, last.reason)
            begins = last is not None and last.is_under_way
            what = "canary begins" if begins else "canary ends"
        elif key.startswith(SHADOW):
            version = self.latest(key)[0].release
            what = "shadow ends" if version is None else "scores in shadow"
        else:
            version = release = self.latest(key)[0].release
            what = FROZEN if release is not None and release.frozen else RELEASED
        by, note = record.header("by"), record.header("note")
        if version is not None:
            by, note = version.by, version.note
        text = "" if version is None else version.version
        return HistoryRow(record.offset, record.at_ms, what, text, by, reason or note)

    def rows(self, model: str) -> Sequence[HistoryRow]:
        """Return all that was done to a model, the oldest first: canaries and shadows, too."""
        return tuple(self._rows[model])

    def entries(self, model: str) -> Sequence[Released[ModelRelease]]:
        """Return the releases of a model, the oldest first."""
        return tuple(self._records.get(model, ()))

    def current(self, model: str) -> ModelRelease | None:
        """Return the last release; None if there is none, or if it is of the shipped version."""
        entries = self.entries(model)
        return entries[-1].release if entries else None

    def last_challenger(self, model: str) -> Challenger | None:
        """Return the last version that was named a challenger, stopped since or not."""
        named = (released.release for released in self.latest(SHADOW + model))
        return next((challenger for challenger in named if challenger is not None), None)

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

        `shipped` is the sha256 of the shipped version, which ran before the first release, at
        offset -1, and runs after a release without a version.

        Raises `UsageError`: no other version ran, or `to` is not the offset of one of its releases.
        """
        entries = self.entries(model)
        if to is not None:
            for entry in entries:
                if entry.offset == to:
                    return entry
            raise UsageError(
                f"`{model}` has no release at offset {to}; `feedmill models list {model}` lists"
                " them"
            )
        ran = [(shipped, Released[ModelRelease](-1, None))]
        ran += [
            (released.release.sha256 if released.release else shipped, released)
            for released in entries
        ]
        for sha256, entry in reversed(ran):
            if sha256 != ran[-1][0]:
                return entry
        raise UsageError(
            f"`{model}` has run no other version than {shipped[:12]}, which ships, so there is"
            " nothing to go back to"
        )


class ListHistory(ReleaseFold):
    """The valid records of `models` about lists, in the order of their offsets."""

    def __init__(self, records: Iterable[TopicRecord]) -> None:
        super().__init__((), kept=None)
        for record in records:
            if is_list(record.key):
                self.apply(record)

    def last(self) -> dict[ListKey, Released[ListRelease]]:
        """Return the last valid record of each list."""
        return {ListKey.of(key): records[-1] for key, records in self._records.items()}

    def in_force(self) -> dict[ListKey, ListRelease]:
        """Return the release of each list whose last record does not withdraw it."""
        last = {key: released.release for key, released in self.last().items()}
        return {key: release for key, release in last.items() if release is not None}

    def rollback_target(self, key: ListKey) -> ListRelease | None:
        """Return the last release of another version than the present one; None if there was none.

        Raises `UsageError`: the list was never released.
        """
        releases = [released.release for released in self._records.get(str(key), ())]
        if not releases:
            raise UsageError(f"`{key}` was never released, so there is nothing to go back from")
        now = None if releases[-1] is None else releases[-1].sha256
        earlier = (release for release in reversed(releases) if release is not None)
        return next((release for release in earlier if release.sha256 != now), None)
