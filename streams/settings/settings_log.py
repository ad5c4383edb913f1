"""Follows `config` on the worker's loop: the settings in force, and the records refused."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from feedmill.events.errors import BadSetting
from feedmill.events.instance import MOST_REFUSALS, RefusedSetting
from feedmill.events.settings import Settings, SettingsDraft
from feedmill.streams.kafka.batch_headers import reason_of
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.settings.environment import Environment

_MOST_RECORDS = 1000
_MOST_REASON = 500
_READ_EVERY_S = 0.003


class SettingsFold:
    """Applies the records of `config` in order, as every worker does.

    `settings` are those in force, `refused` the last refusals, at most `MOST_REFUSALS`, and
    `refused_count` the number of all.
    """

    def __init__(self, environment: Environment) -> None:
        self.settings = Settings(environment.signals)
        self.refused: deque[RefusedSetting] = deque(maxlen=MOST_REFUSALS)
        self.refused_count = 0

    def take(self, records: Iterable[Record]) -> None:
        """Apply the next records; of one that is refused the old value stays."""
        draft = SettingsDraft(self.settings)
        for record in records:
            try:
                draft.fold(record.key, record.value, record.offset)
            except BadSetting as error:
                draft.skip(record.offset)
                key = (record.key or b"").decode("utf-8", "replace")[:256]
                reason = reason_of(record.value, error)[:_MOST_REASON]
                self.refused.append(RefusedSetting(key, record.offset, reason))
                self.refused_count += 1
        self.settings = draft.settings()


class SettingsLog(SettingsFold):
    """The settings so far; `follow` and `newest` read on, without waiting."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.environment)
        self.log = LogConsumer(connection, "config")
        self.log.add({TopicPartition("config", 0): BEGINNING})
        self._read_at = 0.0

    def follow(self) -> None:
        """Apply what came."""
        self._read_at = time.monotonic()
        if batches := self.log.read(_MOST_RECORDS):
            self.take(record for batch in batches for record in batch.records)

    def newest(self) -> Settings:
        """Return the settings, for whoever asks often: it reads on every 3 ms."""
        if time.monotonic() >= self._read_at + _READ_EVERY_S:
            self.follow()
        return self.settings

    def ready_reason(self) -> str:
        """Say what is read still, or cannot be; "" if nothing is."""
        return self.log.ready_reason() or self.log.late_reason()

    def close(self) -> None:
        self.log.close()
