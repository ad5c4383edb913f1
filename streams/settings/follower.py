"""Follows `config` in a stage: the settings in force, and the records that were refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from feedmill.events.errors import BadSetting
from feedmill.events.instance import RefusedSetting
from feedmill.events.settings import Settings
from feedmill.streams.kafka.batches import Record
from feedmill.streams.kafka.log_reader import LogReader
from feedmill.streams.settings.environment import Environment

_KEPT_REFUSALS = 200


class SettingsFold:
    """Applies the records of `config` in order, as every stage does.

    `settings` are those in force, `refused` the last refusals, at most 200 of them, and
    `refused_count` the number of all.
    """

    def __init__(self, environment: Environment) -> None:
        self.settings = Settings(environment.signals)
        self.refused: deque[RefusedSetting] = deque(maxlen=_KEPT_REFUSALS)
        self.refused_count = 0

    def take(self, record: Record) -> None:
        """Apply the next record, or refuse it and keep the old value."""
        try:
            self.settings = self.settings.fold(record.key, record.value, record.offset)
        except BadSetting as error:
            self.settings = self.settings.skip(record.offset)
            key = (record.key or b"").decode("utf-8", "replace")[:256]
            self.refused.append(RefusedSetting(key, record.offset, str(error)))
            self.refused_count += 1


class SettingsFollower(SettingsFold):
    """Reads `config` for a stage of the first engine.

    `on_change` gets the new settings after every batch of records.
    """

    def __init__(self, environment: Environment, on_change: Callable[[Settings], None]) -> None:
        super().__init__(environment)
        self.reader = LogReader(environment, ["config"])
        self._on_change = on_change

    async def start(self) -> None:
        """Read `config` from its beginning to its end."""
        await self.reader.start()
        while not await self.reader.has_caught_up():
            await self.follow(timeout_ms=100)

    async def follow(self, timeout_ms: int = 500) -> bool:
        """Apply the next records; False if none came within `timeout_ms`."""
        batches = await self.reader.read(timeout_ms)
        for batch in batches:
            for record in batch.records:
                self.take(record)
        if batches:
            self._on_change(self.settings)
        return bool(batches)
