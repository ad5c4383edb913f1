"""Exports exposures, engagements and quality from Kafka into a folder of parts, each exactly once.

The offsets stand in the parts: whoever is killed goes on where its last part ended, and what was
read after that is read again.  `config` and `models` are read from their beginning at each start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from feedmill.events.decode import decode_engagement, decode_exposure, decode_signal
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.experiments.kept_rows import KeptRows
from feedmill.experiments.parts import (
    MOST_REJECTED,
    ExportFolder,
    KeptSetting,
    LostRecords,
    MeasuredOverlap,
    Offsets,
    Part,
    RejectedEvent,
    exporting,
    key_of,
)
from feedmill.experiments.upkeep import drop_forgotten, drop_old, merge
from feedmill.operations.experiment_dose import overlaps
from feedmill.operations.exposure_letters import ExposureLetters
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import (
    Record,
    RecordBatch,
    TopicPartition,
    columns_of,
    record_bytes,
)
from feedmill.streams.kafka.client import kafka_errors
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.offsets import Bounds
from feedmill.streams.kafka.topic_reader import count_partitions
from feedmill.streams.kafka.validation import RejectedRecord, validate_batch
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import SettingsFold

QUALITY = "signals.quality"
# Of these a record that is gone before it was read is a gap; quality has a value for each post.
WHOLE_LOGS = ("exposures", "engagements")
_MOST_RECORDS = 20_000
# Exposures of so many bytes that wait to be decoded are a part, too.
_PART_BYTES = 64 * 1024 * 1024
_WAIT_S = 0.2
_OVERLAP_EVERY_S = 600.0


@dataclass(frozen=True)
class ExportOptions:
    """Where to export to, and how.

    Attributes
    ----------
    folder, key
        The folder, and the file of the key of its hashes, None for one made there.
    follow
        Whether to go on for ever, else to where the topics end now.
    part_s, part_rows
        A part is written after so many seconds, or with so many rows, or 64 MiB of exposures.
    keep_days
        For so many days engagements are kept, then sums of them.
    """

    folder: Path
    key: Path | None = None
    follow: bool = False
    part_s: float = 60.0
    part_rows: int = 200_000
    keep_days: int = 100


def export(environment: Environment, options: ExportOptions, tell: Callable[[Part], None]) -> None:
    """Export until the topics' end, or for ever; `tell` is told of each part.

    Raises
    ------
    UsageError
        A topic is missing or not the one that was read before, another process exports into the
        folder, or records went while this one read.
    """
    with exporting(options.folder):
        key = key_of(options.folder, options.key)
        folder = ExportFolder(options.folder)
        with folder.locked():
            folder.tidy()
        connection = Connection(environment)
        try:
            exporter = _Exporter(connection, options, folder, KeptRows(key), tell)
            try:
                exporter.run()
            finally:
                exporter.close()
        finally:
            connection.close()


class _Exporter:
    """One run; it is used by one thread, and waits for Kafka."""

    def __init__(
        self,
        connection: Connection,
        options: ExportOptions,
        folder: ExportFolder,
        rows: KeptRows,
        tell: Callable[[Part], None],
    ) -> None:
        self._connection, self._environment = connection, connection.environment
        self._options, self._folder, self._rows, self._tell = options, folder, rows, tell
        last = folder.last
        self._offsets: Offsets = last.offsets if last else {}
        self._last_ms: Offsets = {t: dict(by) for t, by in last.last_ms.items()} if last else {}
        self._through_ms = last.through_ms if last else 0
        self._lost: list[LostRecords] = []
        # Decoded only when the settings are read that they may be about.
        self._exposures: list[RecordBatch] = []
        self._exposures_bytes = 0
        self._partitions: dict[str, int] = {}
        self._topic_ids: dict[str, str] = {}
        self._events = LogConsumer(connection, "experiments")
        self._config = _Settings(connection, self._offsets)
        self._letters = ExposureLetters(connection)
        self._measured_at = -_OVERLAP_EVERY_S

    def run(self) -> None:
        self._begin()
        due = time.monotonic() + self._options.part_s
        while True:
            for batch in self._events.read(_MOST_RECORDS, _WAIT_S):
                self._take(batch)
            self._fail_where_stopped()
            ends = not self._options.follow and self._events.all_restored()
            waiting = sum(len(batch.records) for batch in self._exposures)
            is_full = len(self._rows) + waiting >= self._options.part_rows
            is_full = is_full or self._exposures_bytes >= _PART_BYTES
            if ends or is_full or time.monotonic() >= due:
                self._write()
                due = time.monotonic() + self._options.part_s
            if ends:
                return

    def close(self) -> None:
        """Let go of the clients."""
        self._events.close()
        self._config.close()

    # --- where to read -------------------------------------------------------------------

    def _begin(self) -> None:
        topics = [*WHOLE_LOGS, *([QUALITY] if "quality" in self._environment.signals.all else [])]
        self._partitions = count_partitions(self._environment, topics)
        sources = [TopicPartition(t, p) for t, n in self._partitions.items() for p in range(n)]
        self._check_topics()
        starts = {}
        for source, (first, _) in self._bounds(sources).items():
            known = self._offsets.get(source.topic, {}).get(source.partition)
            starts[source] = max(known or 0, first)
            if first > (known or 0) and source.topic in WHOLE_LOGS:
                lost_ms = self._last_ms.get(source.topic, {}).get(source.partition, 0)
                self._lost.append(LostRecords(*source, known or 0, first, lost_ms, now_ms()))
        self._events.add(starts, or_first=True)
        self._config.read_to_end()

    def _check_topics(self) -> None:
        """Refuse topics that were created again: their offsets say nothing of what is kept."""
        with kafka_errors(self._environment):
            found = self._connection.offsets.topic_ids([*self._partitions]).result()
        known = self._folder.last.topic_ids if self._folder.last else found
        again = [topic for topic in found if known.get(topic, found[topic]) != found[topic]]
        if again:
            raise UsageError(
                f"{', '.join(map(self._environment.topic, again))}: created again since it was"
                " exported; export into a new folder"
            )
        self._topic_ids = found

    def _bounds(self, sources: list[TopicPartition]) -> dict[TopicPartition, Bounds]:
        with kafka_errors(self._environment):
            return self._connection.offsets.bounds(sources).result()

    def _fail_where_stopped(self) -> None:
        if self._events.stopped:
            reason = next(iter(self._events.stopped.values()))
            raise UsageError(f"{reason.partition(';')[0]}; start it again, which names the gap")

    # --- what was read -------------------------------------------------------------------

    def _take(self, batch: RecordBatch) -> None:
        topic, partition = batch.source
        last_ms = self._last_ms.setdefault(topic, {})
        self._lost = [
            _ended(one, batch) if (one.topic, one.partition) == batch.source else one
            for one in self._lost
        ]
        last_ms[partition] = max(last_ms.get(partition, 0), batch.records[-1].timestamp)
        count = self._partitions[topic]
        if topic == "exposures":
            self._exposures.append(batch)
            columns = columns_of(batch.records)
            self._exposures_bytes += record_bytes(columns.keys, columns.values)
        elif topic == "engagements":
            # A bad one has its dead letter from the stage of engagement.
            for record, event in validate_batch(batch, count, decode_engagement).events:
                self._rows.add_engagement(event, record.timestamp)
        else:
            for record, signal in validate_batch(batch, count, _decode_quality).events:
                if signal is not None:
                    self._rows.add_quality(signal, record.timestamp, record.offset)

    def _write(self) -> None:
        """Write what was read as a part, if that is anything."""
        reached: Offsets = {}
        for source, offset in self._events.positions().items():
            reached.setdefault(source.topic, {})[source.partition] = offset
        self._config.read_to_end()
        refused = self._decode_exposures()
        # Before the offsets behind them are kept: whoever is killed here writes some again.
        self._letters.write(refused)
        settings = self._config.take()
        measured = self._measure()
        offsets = {**reached, **self._config.offsets()}
        tables = self._rows.take()
        if offsets == self._offsets and not (tables or measured):
            return
        self._through_ms = max(self._through_ms, self._read_through())
        number = self._folder.last.last + 1 if self._folder.last else 1
        part = Part(
            *(number, number, offsets, self._last_ms, self._through_ms),
            {name: len(table) for name, table in tables.items()},
            lost=tuple(self._lost),
            rejected=tuple(map(_named, refused[:MOST_REJECTED])),
            rejected_count=len(refused),
            topic_ids=self._topic_ids,
            settings=tuple(settings),
            overlaps=tuple(measured),
        )
        with self._folder.locked():
            self._folder.write(part, drop_forgotten(self._folder, tables))
            merge(self._folder)
            drop_old(self._folder, self._options.keep_days)
        self._offsets, self._lost = offsets, []
        self._tell(part)

    def _read_through(self) -> int:
        """Return up to when everything was read: where more waits, to the last record read."""
        newest_ms = max((ms for by in self._last_ms.values() for ms in by.values()), default=0)
        behind = [source for source, lag in self._events.lag().items() if lag]
        return min((newest_ms, *(self._last_ms.get(t, {}).get(p, 0) for t, p in behind)))

    def _decode_exposures(self) -> list[RejectedRecord]:
        """Keep the rows of what waits; return what is none."""
        batches, self._exposures, self._exposures_bytes = self._exposures, [], 0
        experiments, rejected = self._config.settings.experiments, []
        for batch in batches:
            found = validate_batch(batch, self._partitions["exposures"], decode_exposure)
            rejected += found.rejected
            for record, event in found.events:
                try:
                    known = experiments.get(event.experiment)
                    self._rows.add_exposure(event, known, record.timestamp)
                except BadEvent as error:
                    rejected.append(RejectedRecord(batch.source, record, str(error)))
        return rejected

    def _measure(self) -> list[MeasuredOverlap]:
        """Read the dose from Redis if it is time to."""
        if time.monotonic() < self._measured_at + _OVERLAP_EVERY_S:
            return []
        self._measured_at = time.monotonic()
        return overlaps(self._environment, self._config.settings)


class _Settings:
    """The settings as every worker folds them, and the records that no part has yet."""

    def __init__(self, connection: Connection, kept: Offsets) -> None:
        self._log = LogConsumer(connection, "settings")
        self._log.add({TopicPartition(topic, 0): BEGINNING for topic in ("config", "models")})
        self._kept = {topic: kept.get(topic, {}).get(0, 0) for topic in ("config", "models")}
        self._fold = SettingsFold(connection.environment)
        self._new: list[KeptSetting] = []

    @property
    def settings(self) -> Settings:
        return self._fold.settings

    def read_to_end(self) -> None:
        """Read all that is there by now."""
        self._log.restore_again()
        while not self._log.all_restored():
            for batch in self._log.read(_MOST_RECORDS, _WAIT_S):
                for record in batch.records:
                    self._take(batch.source.topic, record)

    def take(self) -> list[KeptSetting]:
        """Return what no part has yet; it is for the next one."""
        new, self._new = self._new, []
        return new

    def offsets(self) -> Offsets:
        """Return up to where it is read."""
        return {source.topic: {0: at} for source, at in self._log.positions().items()}

    def close(self) -> None:
        self._log.close()

    def _take(self, topic: str, record: Record) -> None:
        key, value = (record.key or b"").decode("utf-8", "replace"), None
        if topic == "config":
            self._fold.apply([record])
            if self.settings.change_offsets.get(key) != record.offset:
                return
            value = (record.value or b"").decode("utf-8", "replace")
        if record.offset >= self._kept[topic]:
            kept = KeptSetting(topic, record.offset, record.timestamp, key, value)
            self._new.append(kept)


def _decode_quality(key: bytes | None, value: bytes | None) -> Signal | None:
    return decode_signal("quality", SignalNames(), key, value) if value else None


def _ended(one: LostRecords, batch: RecordBatch) -> LostRecords:
    """Say of what was lost that it ended before the first record that is left."""
    to_ms = min(one.to_ms, batch.records[0].timestamp)
    return msgspec.structs.replace(one, to_ms=to_ms)


def _named(one: RejectedRecord) -> RejectedEvent:
    """Say where a record stands and what is wrong with it, of an id without the id."""
    reason = one.reason
    if "`$.user_id`" in reason or "in the key" in reason:
        reason = "Expected an id that is the record's key - at `$.user_id`"
    return RejectedEvent(*one.source, one.record.offset, reason)
