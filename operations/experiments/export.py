"""Exports exposures, engagements and quality from Kafka into a folder of parts, each exactly once.

The offsets stand in the parts: whoever is killed goes on where its last part ended, and what was
read after that is read again.  `config` and `models` are read from their beginning at each start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import redis
from confluent_kafka import KafkaError, KafkaException

from feedmill.events.decode import decode_engagement, decode_exposure, decode_signal
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.events.weights import weights_decoder
from feedmill.experiments.checks import ExperimentRecord, FeedWeights, Gap, StartedSetting
from feedmill.experiments.dials import written
from feedmill.experiments.export_folder import (
    MOST_REJECTED,
    ExportFolder,
    KeptRows,
    KeptSetting,
    LostRecords,
    MeasuredOverlap,
    Offsets,
    Part,
    RejectedEvent,
    drop_forgotten,
    drop_old,
    exporting,
    key_of,
    merge,
)
from feedmill.experiments.join import JoinedExperiment, JoinedUsers
from feedmill.operations.experiments.runs import (
    ExperimentRun,
    changes_during,
    releases_during,
    run_of,
    steps_of,
)
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import (
    Record,
    RecordBatch,
    TopicPartition,
    columns_of,
    record_bytes,
)
from feedmill.streams.kafka.client import WatchedProducer, kafka_errors, new_producer
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.dead_letters import Rejections
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.offsets import Bounds
from feedmill.streams.kafka.topic_reader import TopicRecord, count_partitions
from feedmill.streams.kafka.validation import RejectedRecord, validate_batch
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import ConfigLog, SettingsFold, fold_log

log = logging.getLogger(__name__)

STAGE = "experiments"
QUALITY = "signals.quality"
# The dose of an experiment: how much of the control's so many first posts the arms' lists have.
TOP = 10
# Of these a record that is gone before it was read is a gap; quality has a value for each post.
WHOLE_LOGS = ("exposures", "engagements")
_MOST_RECORDS = 20_000
# Exposures of so many bytes that wait to be decoded are a part, too.
_PART_BYTES = 64 * 1024 * 1024
_WAIT_S = 0.2
_OVERLAP_EVERY_S = 600.0
_MOST_LETTER_BYTES = 64 * 1024 * 1024
_LETTERS_WITHIN_S = 30.0


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

    Raises `UsageError`: a topic is missing or not the one that was read before, another process
    exports into the folder, or records went while this one read.
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
            _ended(lost, batch) if (lost.topic, lost.partition) == batch.source else lost
            for lost in self._lost
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


def _ended(lost: LostRecords, batch: RecordBatch) -> LostRecords:
    """Say of what was lost that it ended before the first record that is left."""
    to_ms = min(lost.to_ms, batch.records[0].timestamp)
    return msgspec.structs.replace(lost, to_ms=to_ms)


def _named(rejected: RejectedRecord) -> RejectedEvent:
    """Say where a record stands and what is wrong with it, of an id without the id."""
    reason = rejected.reason
    if "`$.user_id`" in reason or "in the key" in reason:
        reason = "Expected an id that is the record's key - at `$.user_id`"
    return RejectedEvent(*rejected.source, rejected.record.offset, reason)


def overlaps(environment: Environment, settings: Settings) -> list[MeasuredOverlap]:
    """Read the top ten of every arm of the running experiments; nothing where Redis is away."""
    running = [
        (name, experiment)
        for name, experiment in settings.experiments.items()
        if not experiment.stopped
    ]
    found: list[MeasuredOverlap] = []
    if not running:
        return found
    reader = open_feed_reader(environment.redis, environment.redis_prefix)
    try:
        for name, experiment in running:
            for feed in experiment.feeds:
                control = _top(reader, feed)
                for arm in experiment.arms[1:] if control else ():
                    top = _top(reader, feed, f"{name}.{arm.name}")
                    share = len(control & top) / len(control)
                    if top:
                        found.append(MeasuredOverlap(name, arm.name, feed, now_ms(), share))
    except redis.RedisError as error:
        log.warning("the top tens of arms are not measured: Redis: %s", error)
    finally:
        reader.client.close()
    return found


def _top(reader: FeedReader, feed: str, arm: str = "") -> set[str]:
    found = reader.feed(feed, TOP, arm)
    return set() if found is None else {post_id for post_id, _ in found.ranking}


class ExposureLetters:
    """Writes the letters of rejected records, beyond the rate of dead letters in range letters.

    The client is made for the first one.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rejections = Rejections(_MOST_LETTER_BYTES)
        self._producer: WatchedProducer | None = None

    def write(self, rejected: Iterable[RejectedRecord]) -> None:
        """Write the letters; all of them are there when it returns.

        Raises `UsageError`: Kafka did not take one within half a minute, or this user may not write
        it.
        """
        at_ms, reject = now_ms(), self._rejections.reject
        made = [reject(record, STAGE, at_ms, _owner(record), is_whole=True) for record in rejected]
        self._rejections.seal()
        letters = [*filter(None, made), *self._rejections.letters()]
        self._rejections.count_waiting(())
        if not letters:
            return
        environment, errors = self._connection.environment, list[KafkaError]()
        if self._producer is None:
            self._producer = new_producer(environment, self._connection.health)

        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                errors.append(error)

        with kafka_errors(environment):
            for letter in letters:
                self._producer.produce(
                    environment.topic(letter.topic),
                    letter.value,
                    letter.key,
                    letter.partition,
                    headers=[*letter.headers],
                    on_delivery=delivered,
                )
            if self._producer.flush(_LETTERS_WITHIN_S):
                errors.append(KafkaError(KafkaError._TIMED_OUT))
            if errors:
                raise KafkaException(errors[0])


def _owner(rejected: RejectedRecord) -> TopicPartition:
    return TopicPartition("posts", rejected.source.partition)


class ExportedSettings:
    """The records of `config` that took effect, and those of `models`, as an export has them."""

    def __init__(self, export: ExportFolder, names: SignalNames) -> None:
        self._export = export
        self.config: ConfigLog = fold_log(self._records("config"), names)

    def run(self, name: str) -> ExperimentRun:
        """Return the experiment of this name; `UsageError` where there was none."""
        return run_of(self.config, name)

    def changes(self, run: ExperimentRun) -> Iterator[str]:
        """Yield what changed for the control while an experiment ran."""
        yield from map(str, changes_during(self.config, run))
        yield from map(str, releases_during(self._records("models"), run))

    def weights(self, run: ExperimentRun, shares: Mapping[str, float]) -> dict[str, FeedWeights]:
        """Return the weights of each feed of an experiment, with its part of impressions."""
        arms: dict[str, list[dict[str, Any]]] = {feed: [] for feed in run.experiment.feeds}
        offsets: dict[str, int] = {}
        for entry, _, settings in steps_of(self.config):
            if run.started.offset <= entry.offset <= run.end_offset(self.config):
                for feed, of_feed in arms.items():
                    of_arms = _weights_of(settings, run, feed)
                    if of_arms not in of_feed[-1:]:
                        of_feed.append(of_arms)
                    offsets[feed] = settings.offsets.get(f"weights/{feed}", -1)
        return {
            feed: FeedWeights(offsets[feed], len(seen) > 1, seen[-1], shares.get(feed))
            for feed, seen in arms.items()
        }

    def _records(self, topic: str) -> Iterator[TopicRecord]:
        for part in self._export.parts:
            for setting in part.settings:
                if setting.topic == topic:
                    value = None if setting.value is None else setting.value.encode()
                    yield TopicRecord(setting.offset, setting.at_ms, setting.key.encode(), value)


def _weights_of(settings: Settings, run: ExperimentRun, feed: str) -> dict[str, Any]:
    """Return the effective weights of each arm in a feed, as whole settings."""
    own, names = settings.weights_of(feed), settings.names
    decoder = weights_decoder(names)
    arms = {arm.name: decoder.patched(own, arm.weights) for arm in run.experiment.arms}
    return {arm: written(weights, names) for arm, weights in arms.items()}


def to_join(run: ExperimentRun) -> JoinedExperiment:
    """Return what the join needs to know of an experiment."""
    stopped_ms = None if run.stopped is None else run.stopped.at_ms
    return JoinedExperiment(run.name, run.experiment, run.started.at_ms, stopped_ms)


def record_of(
    export: ExportFolder, settings: ExportedSettings, run: ExperimentRun, joined: JoinedUsers
) -> ExperimentRecord:
    """Return the record that `feedmill experiments analyse` reads."""
    setting = run.experiment
    measured: dict[str, list[float]] = {}
    for one in (one for part in export.parts for one in part.overlaps):
        if one.experiment == run.name:
            measured.setdefault(one.arm, []).append(one.overlap)
    return ExperimentRecord(
        gaps=tuple(_gaps(export, run.started.at_ms)),
        overlap={arm: sum(found) / len(found) for arm, found in sorted(measured.items())},
        changes=(*settings.changes(run), *_other_lists(joined)),
        started_ms=run.started.at_ms,
        early=joined.early,
        late=joined.late,
        setting=StartedSetting(run.entries[-1].offset, setting.primary, setting.planned_n),
        export=str(export.path.resolve()),
        read={} if export.last is None else export.last.offsets,
        weights=settings.weights(run, joined.feed_shares),
    )


def _gaps(export: ExportFolder, started_ms: int) -> Iterator[Gap]:
    for lost in (lost for part in export.parts for lost in part.lost):
        if lost.to_ms >= started_ms:
            what = f"{lost.topic}[{lost.partition}], offsets {lost.first} to {lost.end - 1}"
            yield Gap(lost.from_ms, lost.to_ms, f"{what} were gone before they were read")
    summed = [part.newest_ms for part in export.parts if part.is_summed]
    if summed and summed[-1] >= started_ms:
        yield Gap(started_ms, summed[-1], "engagements are older than --keep-days")


def _other_lists(joined: JoinedUsers) -> Iterable[str]:
    for arm, share in sorted(joined.other_lists.items()):
        if share:
            yield f"{share:.1%} of the pages of {arm} showed the control's list"
