"""What `config`, `overrides`, `models` and `audit` say: each is read once, and then on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.console.routes import Console
from feedmill.events.instance import Instance
from feedmill.events.override import OverrideKey
from feedmill.operations.changes import AuditRow, audit_row
from feedmill.operations.overrides import LastOverride, last_overrides
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import ClientHealth, WatchedConsumer, new_log_consumer
from feedmill.streams.kafka.topic_reader import TopicReader, TopicRecord, open_topic
from feedmill.streams.releases.loading import MODELS
from feedmill.streams.releases.release_log import ReleaseFold
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import ConfigLog, fold_log
from feedmill.streams.settings.instances import recent_instances

_ANSWER_S = 2.5
_AGAIN_S = 0.1
_NO_LEADER = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_HEARTBEATS_S = 1.0
# Each stage of each instance writes one every 5 s, and counts as gone after 15 s.
_MOST_HEARTBEATS = 4_000
# Of the audit only so many changes are kept, the newest.
MOST_CHANGES = 20_000

T = TypeVar("T")


class _Followed(Generic[T]):
    """What the records of a topic add up to; `fold` takes the value so far and the next ones."""

    def __init__(
        self,
        environment: Environment,
        topic: str,
        first: T,
        fold: Callable[[T, list[TopicRecord]], T],
    ) -> None:
        self._environment, self._topic = environment, topic
        self._first, self._fold = first, fold
        self._value, self._end = first, 0
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._reader: TopicReader | None = None

    def read(self, consumer: WatchedConsumer) -> T:
        """Return the value as of the end of the topic, which `consumer` is asked for.

        Raises `KafkaException`, `KafkaError` or `UsageError`: Kafka does not answer.
        """
        name = self._environment.topic(self._topic)
        with self._lock:
            end = _end(consumer, name)
            if end == self._end:
                return self._value
            try:
                reader = self._reader
                if reader is None or end < self._end:
                    reader = self._restart()
                self._value = self._fold(self._value, list(reader.read_to_end()))
            except BaseException:
                self.close()
                raise
            self._end = end
            return self._value

    def _restart(self) -> TopicReader:
        """Begin with the first record: after an error, or where the topic was made anew."""
        self.close()
        self._value = self._first
        reader = self._open.enter_context(open_topic(self._environment, self._topic))
        reader.seek_to_beginning()
        self._reader = reader
        return reader

    def close(self) -> None:
        self._open.close()
        self._reader, self._end = None, 0


def _end(consumer: WatchedConsumer, topic: str) -> int:
    """Return the offset after the last record; raises `KafkaException` soon where Kafka is away."""
    until_s = time.monotonic() + _ANSWER_S
    while True:
        try:
            return int(consumer.get_watermark_offsets(KafkaPartition(topic, 0), _ANSWER_S)[1])
        except KafkaException as error:
            # A topic has no leader for a moment after it was made, and after a broker went.
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > until_s:
                raise
            time.sleep(_AGAIN_S)


class Logs:
    """The small topics, as of their ends.  Any thread may ask.

    Every method raises what `kafka_errors` and the frame make pages of: Kafka does not answer.
    """

    def __init__(self, console: Console) -> None:
        self._environment = environment = console.environment
        self._heartbeats_lock = threading.Lock()
        self._heartbeats: TopicReader | None = None
        self._instances: dict[str, Instance] = {}
        self._heard_s = -_HEARTBEATS_S
        self._open = ExitStack()
        names = environment.signals
        self._consumer = new_log_consumer(environment, ClientHealth())
        none: tuple[list[TopicRecord], ConfigLog] = ([], fold_log([], names))
        self._config = _Followed(
            environment,
            "config",
            none,
            lambda so_far, new: (so_far[0] + new, fold_log(so_far[0] + new, names)),
        )
        no_release: tuple[list[TopicRecord], ReleaseFold] = ([], ReleaseFold.of(MODELS, []))
        self._models = _Followed(
            environment,
            "models",
            no_release,
            lambda so_far, new: (so_far[0] + new, ReleaseFold.of(MODELS, so_far[0] + new)),
        )
        no_override: Mapping[OverrideKey, LastOverride] = {}
        self._overrides = _Followed(
            environment,
            "overrides",
            no_override,
            lambda so_far, new: last_overrides(new, names, so_far),
        )
        no_change: Sequence[AuditRow] = ()
        self._audit = _Followed(environment, "audit", no_change, _newest)

    def config(self) -> ConfigLog:
        """Return all settings that were written, and those in force."""
        return self._config.read(self._consumer)[1]

    def releases(self) -> ReleaseFold:
        """Return what was released of every model."""
        return self._models.read(self._consumer)[1]

    def overrides(self) -> Mapping[OverrideKey, LastOverride]:
        """Return the last override of each subject and gate, unless it was withdrawn."""
        return self._overrides.read(self._consumer)

    def audit(self) -> Sequence[AuditRow]:
        """Return the newest changes, the newest first."""
        return self._audit.read(self._consumer)

    def instances(self) -> dict[str, Instance]:
        """Return the instances that run, by their heartbeats, as of a second ago at most."""
        with self._heartbeats_lock:
            now_s = time.monotonic()
            if now_s < self._heard_s + _HEARTBEATS_S:
                return self._instances
            # Asked first, since it says within seconds that Kafka is away.
            name = self._environment.topic("instances")
            _end(self._consumer, name)
            try:
                if self._heartbeats is None:
                    self._heartbeats = self._open.enter_context(
                        open_topic(self._environment, "instances")
                    )
                self._heartbeats.seek_before_end(_MOST_HEARTBEATS)
                records = list(self._heartbeats.read_to_end())
            except BaseException:
                self._heartbeats = None
                self._open.close()
                raise
            at_ms = max((now_ms(), *(record.at_ms for record in records)))
            self._instances, self._heard_s = recent_instances(records, at_ms), now_s
            return self._instances

    def close(self) -> None:
        """Disconnect."""
        self._open.close()
        for followed in (self._config, self._models, self._overrides, self._audit):
            followed.close()
        self._consumer.close()


def _newest(so_far: Sequence[AuditRow], records: list[TopicRecord]) -> Sequence[AuditRow]:
    rows = [row for row in map(audit_row, reversed(records)) if row is not None]
    return (*rows, *so_far)[:MOST_CHANGES]
