"""Follows `models`: which version of each model and list is released, and what was before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from feedmill.events.decode import (
    decode_challenger,
    decode_list_release,
    decode_release,
    is_canary,
    is_challenger,
    is_list,
)
from feedmill.events.errors import BadEvent
from feedmill.events.instance import RefusedRelease
from feedmill.events.release import (
    CANARY,
    LIST,
    SHADOW,
    Challenger,
    ListRelease,
    ModelRelease,
)
from feedmill.filters.registry import FILTERS
from feedmill.streams.kafka.batch_headers import reason_of
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.releases.canary_fold import CanaryFold

TOPIC = "models"
_SOURCE = TopicPartition(TOPIC, 0)
_MOST_RECORDS = 1000
_KEPT_REFUSALS = 50
# A worker that starts goes back so many releases to find one that it can run.
_KEPT_RELEASES = 5


class ReleasedVersion(NamedTuple):
    """A release and the offset of its record; None is the version that the store's card names."""

    offset: int
    release: ModelRelease | None

    @property
    def sha256(self) -> str | None:
        return None if self.release is None else self.release.sha256


class NamedChallenger(NamedTuple):
    """A challenger and the offset of its record; None: no version scores in shadow any more."""

    offset: int
    challenger: Challenger | None


class ListKey(NamedTuple):
    """The filter and the name of a list."""

    filter: str
    name: str

    @property
    def key(self) -> str:
        """The key of its records."""
        return f"{LIST}{self.filter}/{self.name}"


class ReleasedList(NamedTuple):
    """A release of a list and the offset of its record; None: the list was withdrawn."""

    offset: int
    release: ListRelease | None


class ReleaseFold:
    """Applies the records of `models` in order.

    Attributes
    ----------
    offset
        The last record; -1 before the first.
    refused
        The last 50 records that were refused, here or by who tried to load them.
    refused_count
        The number of all.
    canaries
        The canary of each model.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self.offset = -1
        self.refused: deque[RefusedRelease] = deque(maxlen=_KEPT_REFUSALS)
        self.refused_count = 0
        self.canaries = CanaryFold(models)
        self._models = tuple(models)
        self._releases: dict[str, deque[ReleasedVersion]] = {}
        self._challengers: dict[str, NamedChallenger] = {}
        self._lists: dict[ListKey, deque[ReleasedList]] = {}
        self._changed_lists: set[ListKey] = set()

    def take(self, record: Record) -> str | None:
        """Apply the next record; return what it is about, None if it is refused.

        That is a model, ``shadow/<model>`` for its challenger, ``canary/<model>`` for its canary,
        or the key of a list.
        """
        self.offset = record.offset
        try:
            if is_challenger(record.key):
                return self._take_challenger(record)
            if is_canary(record.key):
                return CANARY + self.canaries.take(record)
            if is_list(record.key):
                return self._take_list(record)
            name, release = decode_release(self._models, record.key, record.value)
            self.canaries.take_release(name, release)
        except BadEvent as error:
            key = (record.key or b"").decode("utf-8", "replace")[:256]
            self.refuse(key, record.offset, reason_of(record.value, error))
            return None
        found = self._releases.setdefault(name, deque(maxlen=_KEPT_RELEASES))
        found.append(ReleasedVersion(record.offset, release))
        return name

    def _take_challenger(self, record: Record) -> str:
        name, challenger = decode_challenger(self._models, record.key, record.value)
        self._challengers[name] = NamedChallenger(record.offset, challenger)
        return SHADOW + name

    def _take_list(self, record: Record) -> str:
        filter_name, name, release = decode_list_release(FILTERS, record.key, record.value)
        key = ListKey(filter_name, name)
        found = self._lists.setdefault(key, deque(maxlen=_KEPT_RELEASES))
        found.append(ReleasedList(record.offset, release))
        self._changed_lists.add(key)
        return key.key

    def refuse(self, model: str, offset: int, reason: str) -> None:
        """Keep why a release is not in force."""
        self.refused.append(RefusedRelease(model, offset, reason))
        self.refused_count += 1

    def released(self) -> tuple[str, ...]:
        """Return the models of which there is a release."""
        return tuple(self._releases)

    def latest(self, model: str) -> Sequence[ReleasedVersion]:
        """Return the last five releases of a model, the newest first."""
        return tuple(reversed(self._releases.get(model, ())))

    def challenger(self, model: str) -> NamedChallenger:
        """Return what the last record about a model's challenger says; offset -1 before any."""
        return self._challengers.get(model, NamedChallenger(-1, None))

    def take_changed_lists(self) -> set[ListKey]:
        """Return the lists of which records came since the last call."""
        changed, self._changed_lists = self._changed_lists, set()
        return changed

    def latest_of_list(self, key: ListKey) -> Sequence[ReleasedList]:
        """Return the last five records about a list, the newest first."""
        return tuple(reversed(self._lists.get(key, ())))


class ReleaseLog(ReleaseFold):
    """The releases so far; `follow` reads on, without waiting."""

    def __init__(self, connection: Connection, models: Sequence[str]) -> None:
        super().__init__(models)
        self.log = LogConsumer(connection, TOPIC)
        self.log.add({_SOURCE: BEGINNING})

    def follow(self) -> set[str]:
        """Apply what came; return what it is about, as `take`."""
        batches = self.log.read(_MOST_RECORDS)
        names = (self.take(record) for batch in batches for record in batch.records)
        return {name for name in names if name is not None}

    def close(self) -> None:
        self.log.close()
