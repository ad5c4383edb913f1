"""Follows `config` on the worker's loop: the same fold in every process."""

from __future__ import annotations

from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.settings.follower import SettingsFold

_MOST_RECORDS = 1000


class SettingsLog(SettingsFold):
    """The settings so far; `follow` reads on, without waiting."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.environment)
        self.log = LogConsumer(connection, "config", live=True)
        self.log.add({TopicPartition("config", 0): BEGINNING})

    def follow(self) -> bool:
        """Apply what came; return whether anything did."""
        batches = self.log.read(_MOST_RECORDS)
        for batch in batches:
            for record in batch.records:
                self.take(record)
        return bool(batches)

    @property
    def is_complete(self) -> bool:
        """Whether everything was read that had been there at the start."""
        return self.log.all_restored()

    def close(self) -> None:
        self.log.close()
