"""Follows `models`: which version of each model and list is released, and what was before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
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
from feedmill.events.errors import BadEvent
from feedmill.events.instance import RefusedRelease
from feedmill.events.release import CANARY, LIST, SHADOW, Canary, Challenger, ModelRelease
from feedmill.filters.registry import FILTERS
from feedmill.streams.kafka.batch_headers import reason_of
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer

TOPIC = "models"
_SOURCE = TopicPartition(TOPIC, 0)
_MOST_RECORDS = 1000
_KEPT_REFUSALS = 50
# A worker that starts goes back so many releases to find one that it can run.
_KEPT_RELEASES = 5


Version = TypeVar("Version")


class Released(NamedTuple, Generic[Version]):
    """What a record of `models` releases, and its offset.

    None takes the ones before back: the version that ships runs, no version scores in shadow, a
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

    Several processes may say how a canary ends; what counts is the first record that does.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._models = tuple(models)
        self._last: dict[str, StartedCanary] = {}

    def take(self, record: Record) -> str:
        """Apply a record whose key is that of a canary; return the model.

        Raises
        ------
        BadEvent
            It breaks the contract, or ends a canary that is not under way.
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

    def take_release(self, model: str, release: ModelRelease | None) -> None:
        """Apply a release, None of the shipped version: it ends a canary of the model.

        Raises
        ------
        BadEvent
            It promotes a canary that is not under way.
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
        self._records: dict[str, deque[Released[Any]]] = {}

    def take(self, record: Record) -> str | None:
        """Apply the next record; return what it is about, None if it is refused.

        That is a model, ``shadow/<model>`` for its challenger, ``canary/<model>`` for its canary,
        or the key of a list.
        """
        self.offset = record.offset
        try:
            if is_canary(record.key):
                return CANARY + self.canaries.take(record)
            key, release = self._decode(record)
        except BadEvent as error:
            key = (record.key or b"").decode("utf-8", "replace")[:256]
            self.refuse(key, record.offset, reason_of(record.value, error))
            return None
        found = self._records.setdefault(key, deque(maxlen=_KEPT_RELEASES))
        found.append(Released(record.offset, release))
        return key

    def _decode(self, record: Record) -> tuple[str, Any]:
        if is_challenger(record.key):
            name, challenger = decode_challenger(self._models, record.key, record.value)
            return SHADOW + name, challenger
        if is_list(record.key):
            filter_name, name, content = decode_list_release(FILTERS, record.key, record.value)
            return str(ListKey(filter_name, name)), content
        name, release = decode_release(self._models, record.key, record.value)
        self.canaries.take_release(name, release)
        return name, release

    def refuse(self, key: str, offset: int, reason: str) -> None:
        """Keep why a release is not in force."""
        self.refused.append(RefusedRelease(key, offset, reason))
        self.refused_count += 1

    def latest(self, key: str) -> Sequence[Released[Any]]:
        """Return the last five records about a model or a list, the newest first."""
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
        """Apply what came; return what it is about, as `take`."""
        batches = self.log.read(_MOST_RECORDS)
        names = (self.take(record) for batch in batches for record in batch.records)
        return {name for name in names if name is not None}

    def close(self) -> None:
        self.log.close()
