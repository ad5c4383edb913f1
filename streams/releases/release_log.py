"""Folds the topic `models`: what is released, tried and was before, for workers and commands."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from feedmill.events.decode import (
    decode_candidate,
    decode_list_release,
    decode_release,
    is_candidate,
    is_list,
)
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.instance import RefusedRelease
from feedmill.events.release import (
    CANDIDATE,
    LIST,
    Candidate,
    ListRelease,
    ModelRelease,
    TriedVersion,
)
from feedmill.filters.registry import FILTERS
from feedmill.rankers.registry import TEXT_RANKERS
from feedmill.streams.kafka.batch_headers import reason_of
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.topic_reader import TopicRecord

TOPIC = "models"
_SOURCE = TopicPartition(TOPIC, 0)
_MOST_RECORDS = 1000
_KEPT_REFUSALS = 50
# Models that may have a candidate.  The engagement model may not: it scores from counts, which only
# its step keeps, and which begin with that model's own prior.
BY_TEXT = (*FILTERS, *TEXT_RANKERS)
# So many releases a worker that starts may go back to find one that it can run.
_KEPT_RELEASES = 5


Version = TypeVar("Version")
# How `HistoryRow.what` names a release of a model.
RELEASED, FROZEN = "released", "frozen"


class Released(NamedTuple, Generic[Version]):
    """What a record of `models` releases, and its offset.

    `release` None takes earlier releases back: the shipped version runs, the candidate ends, or the
    list is withdrawn.
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


class StartedCandidate(NamedTuple):
    """A candidate and the offset of the record that began it; `reason` says why it went back."""

    offset: int
    record: Candidate
    reason: str = ""

    @property
    def is_under_way(self) -> bool:
        return self.record.ends is None


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


class ReleaseFold:
    """Applies the records of `models` in order.

    It keeps the last `kept` releases of each key; None: all, with what each record did to a model.

    Attributes
    ----------
    offset
        The last record; -1 before the first.
    refused
        The last 50 records that were refused, by this fold or by a load.
    refused_count
        How many were refused in all.
    """

    def __init__(self, models: Sequence[str], *, kept: int | None = _KEPT_RELEASES) -> None:
        self.offset = -1
        self.refused: deque[RefusedRelease] = deque(maxlen=_KEPT_REFUSALS)
        self.refused_count = 0
        self._models = tuple(models)
        self._kept = kept
        self._records: dict[str, deque[Released[Any]]] = {}
        # By model the candidate under way, or the one that went back since the last release.
        self._candidates: dict[str, StartedCandidate] = {}
        self._last_named: dict[str, Candidate] = {}
        self._rows: dict[str, list[HistoryRow]] = {name: [] for name in models}

    @classmethod
    def of(cls, models: Sequence[str], records: Iterable[TopicRecord]) -> ReleaseFold:
        """Return all that the records of `models` did, for commands."""
        fold = cls(models, kept=None)
        for record in records:
            key = fold.apply(record)
            if key is not None and not key.startswith(LIST):
                fold._rows[key.removeprefix(CANDIDATE)].append(fold._row(key, record))
        return fold

    def apply(self, record: Record | TopicRecord) -> str | None:
        """Apply the next record; return its key, None if the record is refused.

        The key is a model, ``candidate/<model>``, or that of a list.
        """
        self.offset = record.offset
        try:
            if is_candidate(record.key):
                key = CANDIDATE + self._apply_candidate(record)
            else:
                key = self._apply_release(record)
        except BadEvent as error:
            key = (record.key or b"").decode("utf-8", "replace")[:256]
            self.refuse(key, record.offset, reason_of(record.value, error))
            return None
        return key

    def _apply_candidate(self, record: Record | TopicRecord) -> str:
        """Apply the begin or the end of a candidate.

        Several processes may write how it ends; the first such record counts.
        """
        models = tuple(name for name in self._models if name in BY_TEXT)
        name, candidate = decode_candidate(models, record.key, record.value)
        if candidate is None:
            self._candidates.pop(name, None)
        elif candidate.ends is None:
            self._candidates[name] = StartedCandidate(record.offset, candidate)
            self._last_named[name] = candidate
        else:
            self._check_under_way(name, candidate.ends)
            self._candidates[name] = StartedCandidate(candidate.ends, candidate, candidate.reason)
        current = self.candidate(name)
        self._keep(CANDIDATE + name, record.offset, None if current is None else candidate)
        return name

    def _apply_release(self, record: Record | TopicRecord) -> str:
        if is_list(record.key):
            filter_name, name, content = decode_list_release(FILTERS, record.key, record.value)
            key = str(ListKey(filter_name, name))
            self._keep(key, record.offset, content)
            return key
        model, release = decode_release(self._models, record.key, record.value)
        if release is not None and release.candidate is not None:
            self._check_under_way(model, release.candidate)
        if self._candidates.pop(model, None) is not None:
            self._keep(CANDIDATE + model, record.offset, None)
        self._keep(model, record.offset, release)
        return model

    def _keep(self, key: str, offset: int, release: Any) -> None:
        # No earlier candidate takes the place of one that cannot be loaded.
        kept = 1 if key.startswith(CANDIDATE) else self._kept
        self._records.setdefault(key, deque(maxlen=kept)).append(Released(offset, release))

    def _check_under_way(self, model: str, offset: int) -> None:
        current = self.candidate(model)
        if current is None or current.offset != offset:
            raise BadEvent(f"the candidate of `{model}` that began at {offset} is not under way")

    def refuse(self, key: str, offset: int, reason: str) -> None:
        """Keep why a release is not in force."""
        self.refused.append(RefusedRelease(key, offset, reason))
        self.refused_count += 1

    def latest(self, key: str) -> Sequence[Released[Any]]:
        """Return the last records about a model, a candidate or a list, the newest first."""
        return tuple(reversed(self._records.get(key, ())))

    def candidate(self, model: str) -> StartedCandidate | None:
        """Return the candidate that is under way."""
        last = self._candidates.get(model)
        return last if last is not None and last.is_under_way else None

    def last_candidate(self, model: str) -> StartedCandidate | None:
        """Return the candidate under way, or the one that went back since the last release."""
        return self._candidates.get(model)

    def last_named(self, model: str) -> Candidate | None:
        """Return the last candidate, ended since or not."""
        return self._last_named.get(model)

    def _row(self, key: str, record: TopicRecord) -> HistoryRow:
        """Return what a record did; without a version its headers say by whom and why."""
        version: TriedVersion | None
        reason = ""
        if key.startswith(CANDIDATE):
            last = self.last_candidate(key.removeprefix(CANDIDATE))
            version, reason = (None, "") if last is None else (last.record, last.reason)
            what = "candidate ends"
            if last is not None and last.is_under_way:
                what = "canary begins" if last.record.partitions else "scores in shadow"
            elif last is not None:
                what = "candidate went back"
        else:
            version = release = self.latest(key)[0].release
            what = FROZEN if release is not None and release.frozen else RELEASED
        by, note = record.header("by"), record.header("note")
        if version is not None:
            by, note = version.by, version.note
        text = "" if version is None else version.version
        return HistoryRow(record.offset, record.at_ms, what, text, by, reason or note)

    def rows(self, model: str) -> Sequence[HistoryRow]:
        """Return all that was done to a model, the oldest first: candidates, too."""
        return tuple(self._rows[model])

    def entries(self, model: str) -> Sequence[Released[ModelRelease]]:
        """Return the releases of a model, the oldest first."""
        return tuple(self._records.get(model, ()))

    def current(self, model: str) -> ModelRelease | None:
        """Return the last release; None if there is none, or if it is of the shipped version."""
        entries = self.entries(model)
        return entries[-1].release if entries else None

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

    def last_lists(self) -> dict[ListKey, Released[ListRelease]]:
        """Return the last valid record of each list."""
        return {
            ListKey.of(key): records[-1]
            for key, records in self._records.items()
            if key.startswith(LIST)
        }

    def lists_in_force(self) -> dict[ListKey, ListRelease]:
        """Return the release of each list whose last record does not withdraw it."""
        last = {key: released.release for key, released in self.last_lists().items()}
        return {key: release for key, release in last.items() if release is not None}

    def list_rollback_target(self, key: ListKey) -> ListRelease | None:
        """Return the last release of another version than the present one; None if there was none.

        Raises `UsageError`: the list was never released.
        """
        releases = [released.release for released in self._records.get(str(key), ())]
        if not releases:
            raise UsageError(f"`{key}` was never released, so there is nothing to go back from")
        now = None if releases[-1] is None else releases[-1].sha256
        earlier = (release for release in reversed(releases) if release is not None)
        return next((release for release in earlier if release.sha256 != now), None)


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
