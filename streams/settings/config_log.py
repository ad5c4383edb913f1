"""Folds the topic `config`: the settings in force for workers, each record for operators.

`SettingsDraft.fold` decides for both whether a record is applied.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from feedmill.events.errors import BadSetting, UsageError
from feedmill.events.instance import MOST_REFUSALS, RefusedSetting
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.events.settings import Settings, SettingsDraft, check_key
from feedmill.events.signal import SignalNames
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batch_headers import reason_of
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.topic_reader import TopicRecord

RawValue = dict[str, Any]
_MOST_RECORDS = 1000
_MOST_REASON = 500
_READ_EVERY_S = 0.003


@dataclass(frozen=True)
class ConfigEntry:
    """One record of `config`.

    Attributes
    ----------
    at_ms
        The record's timestamp in Unix milliseconds.
    value
        The value as it was written; None if the record removes the setting or has no object there.
    record
        The whole value of the record.
    refusal
        Why `Settings` refused the record; None if it was applied.
    """

    offset: int
    at_ms: int
    key: str
    value: RawValue | None
    by: str | None
    note: str | None
    record: bytes | None
    refusal: str | None

    @property
    def applied(self) -> bool:
        return self.refusal is None

    def as_dict(self) -> dict[str, Any]:
        """The entry as `feedmill config history --json` prints it."""
        return {
            "key": self.key,
            "offset": self.offset,
            "at_ms": self.at_ms,
            "value": self.value,
            "by": self.by,
            "note": self.note,
            "applied": self.applied,
            "reason": self.refusal,
        }


@dataclass(frozen=True)
class ConfigLog:
    """All records of `config` in the order of their offsets, and the settings they lead to."""

    settings: Settings
    entries: tuple[ConfigEntry, ...]

    def history(self, key: str | None = None) -> list[ConfigEntry]:
        """Return the records of a key, or of all keys, the oldest first."""
        return [entry for entry in self.entries if key is None or entry.key == key]

    def current(self, key: str) -> ConfigEntry | None:
        """The record whose value is in force; None if the key is not set."""
        offset = self.settings.offsets.get(key)
        return next((entry for entry in self.entries if entry.offset == offset), None)

    def written_value(self, key: str) -> RawValue | None:
        """The value in force as it was written, without inherited fields; None if not set."""
        entry = self.current(key)
        return None if entry is None else entry.value

    def rollback_target(self, key: str, to: int | None) -> ConfigEntry | None:
        """The record to go back to: the one at offset `to`, else the applied one before the last.

        None means that there was no value before: the rollback removes the setting.

        Raises `UsageError`: the key was never set, or `to` is not the offset of an applied record
        of this key.
        """
        applied = [entry for entry in self.history(key) if entry.applied]
        if to is not None:
            for entry in applied:
                if entry.offset == to:
                    return entry
            raise UsageError(
                f"`{key}` has no applied record at offset {to}; `feedmill config history {key}`"
                " lists them"
            )
        if not applied:
            raise UsageError(
                f"`{key}` was never set, so there is no earlier value;"
                " `feedmill config history` lists what was set"
            )
        return applied[-2] if len(applied) > 1 else None


def fold_log(records: Iterable[TopicRecord], names: SignalNames) -> ConfigLog:
    """Apply the records of `config`, which must start with the first one of the topic."""
    draft = SettingsDraft(Settings(names=names))
    entries = tuple(_entry(record, _refusal(draft, record)) for record in records)
    return ConfigLog(draft.settings(), entries)


def _refusal(draft: SettingsDraft, record: Record | TopicRecord) -> str | None:
    """Apply a record to a draft; return why it is refused, None if it is applied."""
    try:
        draft.fold(record.key, record.value, record.offset)
    except BadSetting as error:
        draft.skip(record.offset)
        return reason_of(record.value, error)
    return None


def _entry(record: TopicRecord, refusal: str | None) -> ConfigEntry:
    try:
        fields = msgspec.json.decode(record.value or b"{}", type=dict[str, Any])
    except DECODE_ERRORS:
        fields = {}
    value, by, note = fields.get("value"), fields.get("by"), fields.get("note")
    return ConfigEntry(
        offset=record.offset,
        at_ms=record.at_ms,
        key=(record.key or b"").decode("utf-8", "replace"),
        value=value if isinstance(value, dict) else None,
        by=by if isinstance(by, str) else None,
        note=note if isinstance(note, str) else None,
        record=record.value,
        refusal=refusal,
    )


def effective_value(settings: Settings, key: str) -> RawValue:
    """What is in force under a key, inherited fields included, in the shape of the setting.

    Raises `BadSetting`: there is no such key.
    """
    check_key(key, settings.names)
    kind, _, name = key.partition("/")
    if kind == "weights":
        return settings.weights_of(name).as_dict()
    if kind == "gates":
        return {gate: _as_dict(policy) for gate, policy in settings.gates_of(name).items()}
    if kind == "rules":
        return {rule: _as_dict(spec) for rule, spec in settings.rules.get(name, {}).items()}
    if kind == "rates":
        return {reaction: _as_dict(rate) for reaction, rate in settings.reaction_rates.items()}
    found: object = settings.feed_of(name)
    if kind in ("experiments", "readers"):
        found = getattr(settings, kind).get(name)
    return {} if found is None else _as_dict(found)


def _as_dict(record: object) -> RawValue:
    fields: RawValue = msgspec.to_builtins(record)
    return fields


def encode_record(value: RawValue | None, **fields: object) -> bytes:
    """The value of a record of `config`: `value`, None to remove, beside `by`, `note`, `if_offset`.

    Fields that are None are left out.
    """
    given = {name: field for name, field in fields.items() if field is not None}
    return msgspec.json.encode({"value": value, **given})


class SettingsFold:
    """Applies the records of `config` in order, as every worker does.

    `settings` are those in force, `refused` the last refusals, at most `MOST_REFUSALS`, and
    `refused_count` the number of all.
    """

    def __init__(self, environment: Environment) -> None:
        self.settings = Settings(environment.signals)
        self.refused: deque[RefusedSetting] = deque(maxlen=MOST_REFUSALS)
        self.refused_count = 0

    def apply(self, records: Iterable[Record]) -> None:
        """Apply the next records; a refused record leaves the old value."""
        draft = SettingsDraft(self.settings)
        for record in records:
            reason = _refusal(draft, record)
            if reason is not None:
                key = (record.key or b"").decode("utf-8", "replace")[:256]
                self.refused.append(RefusedSetting(key, record.offset, reason[:_MOST_REASON]))
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
            self.apply(record for batch in batches for record in batch.records)

    def newest(self) -> Settings:
        """Return the settings; reads on at most every 3 ms, so that it may be called often."""
        if time.monotonic() >= self._read_at + _READ_EVERY_S:
            self.follow()
        return self.settings

    def ready_reason(self) -> str:
        """Say what is still to be read, or cannot be read; "" if all is read."""
        return self.log.ready_reason() or self.log.late_reason()

    def close(self) -> None:
        self.log.close()
