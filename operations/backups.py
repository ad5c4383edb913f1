"""Backups of what people decided and trained, and copies of topics under another prefix.

A backup is a folder, for another prefix or another Kafka:

    manifest.json     of which installation, when, by which build, how many records
    topics/<topic>.jsonl   a record a line: offset, stamp, key, value and headers
    store/…           the files of the model store
    SHA256SUMS        of all these, as `sha256sum -c` reads it; written last

The product writes posts and engagements again, and workers make signals, counts and feeds of them.

`feedmill topics copy` copies what people and the product wrote, not what workers made of it: that
is about offsets of the other topics.  Partitions are merged by stamps, as near copies are told in
the order of time.  Records and the offsets up to which they are copied are one transaction, so a
copy that is run again goes on where the last copy ended.
"""

from __future__ import annotations

import hashlib
import heapq
import importlib.metadata
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.events.errors import UsageError
from feedmill.events.override import Override
from feedmill.events.reasons import DECODE_ERRORS, reason_of
from feedmill.models.store_files import (
    MOST_BYTES,
    Store,
    file_sizes,
    is_file_name,
    place_of,
    read_file,
    write_file,
    write_whole,
)
from feedmill.operations.changes import Audited, MadeBy, open_changes
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batch_headers import PassedBatch
from feedmill.streams.kafka.client import (
    ClientHealth,
    kafka_errors,
    new_log_consumer,
    new_producer,
)
from feedmill.streams.kafka.topic_reader import (
    TopicRecord,
    count_partitions,
    open_topic,
    read_all,
    records_after,
)
from feedmill.streams.kafka.topic_table import KEPT, topic_table
from feedmill.streams.kafka.topics import keep_stamps

# By topic the fields of its values that name an offset of that topic, which has one partition.
OFFSET_FIELDS = {"config": ("if_offset",), "models": ("candidate", "ends")}
# The offset of no record: what names a record that was not written again stays without effect.
_NO_RECORD = 2**53 - 1
_ANSWER_S = 60.0


class MovedRecords:
    """Writes records of one installation again in another one, in transactions.

    Each keeps its key, value, headers and stamp; its partition is that of its key.  A record that
    names the offset of an earlier one of its topic, `if_offset` of a setting for example, names the
    new one.  A former run with this transactional id, if it lives, writes nothing from now on.

    Attributes
    ----------
    offsets
        By topic of `OFFSET_FIELDS` where each record stood, and where it stands.
    refused
        What Kafka said of the records that it did not take.
    """

    def __init__(self, environment: Environment, transactional_id: str, **settings: int) -> None:
        self.offsets: dict[str, dict[int, int]] = {topic: {} for topic in OFFSET_FIELDS}
        self.refused: list[str] = []
        self._environment = environment
        self.producer = new_producer(
            environment, ClientHealth(), transactional_id=transactional_id, **settings
        )
        self.producer.init_transactions(_ANSWER_S)

    def write(self, topic: str, record: TopicRecord) -> None:
        """Hand a record to the producer; raises `KafkaException` where its transaction is over."""

        def written(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.refused.append(error.str())
            elif topic in self.offsets:
                self.offsets[topic][record.offset] = message.offset()

        value = self._value(topic, record.value)
        while True:
            try:
                self.producer.produce(
                    self._environment.topic(topic),
                    value,
                    record.key,
                    on_delivery=written,
                    timestamp=record.at_ms,
                    headers=list(record.headers),
                )
                self.producer.poll(0)
                return
            except BufferError:
                self.producer.poll(0.1)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin one, and abort it if the block, which commits it, fails."""
        self.producer.begin_transaction()
        try:
            yield
        except BaseException:
            # A transaction that Kafka has ended already cannot be aborted.
            with suppress(KafkaException):
                self.producer.abort_transaction(_ANSWER_S)
            raise

    def _value(self, topic: str, value: bytes | None) -> bytes | None:
        """Replace the offsets that a value names; below 0 they stand for no record, and stay."""
        fields = [name for name in OFFSET_FIELDS.get(topic, ()) if name.encode() in (value or b"")]
        if not value or not fields:
            return value
        try:
            said = msgspec.json.decode(value)
        except DECODE_ERRORS:
            return value
        if not isinstance(said, dict):
            return value
        named = {name: said[name] for name in fields if type(said.get(name)) is int}
        self.producer.flush(_ANSWER_S)  # until the records before have their offsets
        new = self.offsets[topic]
        moved = {name: new.get(old, _NO_RECORD) for name, old in named.items() if old >= 0}
        return msgspec.json.encode({**said, **moved}) if moved else value


def _by_stamps(
    opened: ExitStack, environment: Environment, topic: str, starts: Iterable[int]
) -> Iterator[TopicRecord]:
    """Read a topic in the order of stamps, each partition from an offset on; -1: all of it."""
    logs = []
    for partition, start in enumerate(starts):
        reader = opened.enter_context(open_topic(environment, topic, partition))
        reader.seek_to_beginning() if start < 0 else reader.seek(partition, start)
        logs.append(reader.read_to_end())
    return heapq.merge(*logs, key=lambda record: record.at_ms)


# --- backups ----------------------------------------------------------------------------------

BUILD = importlib.metadata.version("feedmill")
_SUMS, _MANIFEST, _STORE, _SNAPSHOTS = "SHA256SUMS", "manifest.json", "store/", "snapshots"
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9._@/-]*)")
_PIECE = 1 << 20
# Snapshots of training rows may be larger than models.
_MOST_BYTES = 16 * MOST_BYTES
# What workers and `topics create` write where nobody has changed anything.
_OF_NOBODY = ("audit", "instances", "feed-shards")
# The transactional id: a restore that runs again first aborts what an interrupted one wrote.
_ID = "restore"
_TRANSACTION_MS = 10 * 60_000


class KeptRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record as a backup has it: key, value and values of headers in base64."""

    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup is of; `records` by topic."""

    build: str
    made_at: str
    kafka: str
    topic_prefix: str
    records: dict[str, int]


class Restored(msgspec.Struct, frozen=True):
    """What a restore wrote.

    Attributes
    ----------
    files
        How many files of the model store.
    offsets
        By topic, config and models, the offset of each record as it was and as it is.
    versions
        The keys of the overrides that hold for a version of a post, by its offset in `posts`.
    """

    manifest: Manifest
    files: int
    offsets: dict[str, dict[int, int]]
    versions: tuple[str, ...]


# --- making one ----------------------------------------------------------------------------------


def make_backup(
    environment: Environment, store: Store | None, folder: Path, now_ms: int
) -> tuple[Manifest, int]:
    """Write a backup into a folder that is new or empty; return what it has, and its files.

    Raises `UsageError`: the folder has files, a topic is missing, Kafka or the store is away.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: expected a new or empty folder, found files; name another one")
    sums: dict[str, str] = {}
    with kafka_errors(environment):
        counts = count_partitions(environment, KEPT)
        # Labels and audit say who did what.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "topics").mkdir()
        records = {
            topic: _keep_topic(environment, topic, count, folder, sums)
            for topic, count in counts.items()
        }
    # What the records name is in the store already.
    for name, content in _files_of(store):
        path = folder / _STORE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sums[_STORE + name] = hashlib.sha256(content).hexdigest()
    made_at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="seconds")
    manifest = Manifest(BUILD, made_at, environment.kafka, environment.topic_prefix, records)
    said = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    (folder / _MANIFEST).write_bytes(said)
    sums[_MANIFEST] = hashlib.sha256(said).hexdigest()
    write_whole(folder / _SUMS, _sums_text(sums))
    return manifest, len(sums) - len(KEPT) - 1


def _keep_topic(
    environment: Environment, topic: str, partitions: int, folder: Path, sums: dict[str, str]
) -> int:
    """Write a topic's records in the order of their stamps; return how many."""
    name, count = f"topics/{topic}.jsonl", 0
    digest = hashlib.sha256()
    with ExitStack() as opened, (folder / name).open("wb") as file:
        for one in _by_stamps(opened, environment, topic, [-1] * partitions):
            if isinstance(one.value, PassedBatch):
                continue  # Of a batch that inflates too far no reader has the records.
            kept = KeptRecord(one.offset, one.at_ms, one.key, one.value, tuple(one.headers))
            line = msgspec.json.encode(kept) + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
    sums[name] = digest.hexdigest()
    return count


def _files_of(store: Store | None) -> Iterator[tuple[str, bytes]]:
    """The files of a store by their names; what is being written has another name."""
    if store is None:
        return
    names = [*file_sizes(store)]
    names += [f"{_SNAPSHOTS}/{name}" for name in file_sizes(store, _SNAPSHOTS)]
    for name in names:
        if is_file_name(name) and not name.endswith(".part"):
            yield name, _read(store, name)


def _read(store: Store, name: str) -> bytes:
    try:
        return read_file(store, name, _MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{place_of(store, name)}: {error.strerror}; run it again") from error


def _sums_text(sums: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()


# --- reading one ---------------------------------------------------------------------------------


def read_manifest(folder: Path) -> tuple[Manifest, Sequence[str]]:
    """Check every byte of a backup; return its manifest and the names of its store's files.

    Raises `UsageError`: it is unfinished, was altered, or is of another build.
    """
    sums = _read_sums(folder)
    for name, digest in sums.items():
        if (found := _digest_of(folder / name)) != digest:
            what = "is missing" if found is None else "was altered"
            raise UsageError(
                f"{folder / name} {what}: it is not what {_SUMS} says; nothing was written. Take"
                " another copy of this backup"
            )
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
    except DECODE_ERRORS as error:
        raise UsageError(f"{folder / _MANIFEST}: {reason_of(error)}") from None
    if manifest.build != BUILD:
        raise UsageError(
            f"{folder} was made by feedmill {manifest.build}, and this is {BUILD}; nothing was"
            " written. Restore it by that version, and upgrade afterwards"
        )
    return manifest, [name.removeprefix(_STORE) for name in sums if name.startswith(_STORE)]


def _read_sums(folder: Path) -> dict[str, str]:
    path = folder / _SUMS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{folder} has no {_SUMS}, which is written last: it is no backup, or half of one;"
            " nothing was written"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    lines = [_LINE.fullmatch(line) for line in content.decode("utf-8", "replace").splitlines()]
    sums = {match[2]: match[1] for match in lines if match is not None}
    expected = {_MANIFEST, *(f"topics/{topic}.jsonl" for topic in KEPT)}
    is_right = _sums_text(sums) == content and all(_is_inside(name) for name in sums)
    if not is_right or {name for name in sums if not name.startswith(_STORE)} != expected:
        raise UsageError(
            f"{path} was altered: expected a line of each file of a backup, its sha256 and its"
            " name; nothing was written. Take another copy of this backup"
        )
    return sums


def _is_inside(name: str) -> bool:
    return not name.startswith(_STORE) or is_file_name(name.removeprefix(_STORE))


def _digest_of(path: Path) -> str | None:
    """The sha256 of a file; None where there is none, or only a link to somewhere else."""
    digest = hashlib.sha256()
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


# --- restoring one -------------------------------------------------------------------------------


def restore_backup(
    environment: Environment, store: Store | None, folder: Path, made_by: MadeBy
) -> Restored:
    """Write a backup into the empty topics of a prefix, all or nothing, and into the store.

    Raises `UsageError`: the backup is none, is unfinished, altered, or of another build; the prefix
    is used, or lacks topics; the store has another file of the same name; Kafka refuses.
    """
    manifest, files = read_manifest(folder)
    target = _checked_store(folder, store, files)
    with kafka_errors(environment):
        restorer = _Restorer(environment)
        _refuse_used(environment)
        with open_changes(environment, made_by) as changes:
            said = {"restored_from": manifest.topic_prefix, "made_at": manifest.made_at}
            changes.announce(*(Audited(topic, after=said) for topic in KEPT))
        if target is not None:
            for name in files:
                write_file(target, name, (folder / _STORE / name).read_bytes())
        names = [environment.topic(topic) for topic in KEPT]
        with keep_stamps(environment.kafka, environment.security, names):
            restorer.restore(folder)
    return Restored(manifest, len(files), restorer.offsets, restorer.versions)


def _checked_store(folder: Path, store: Store | None, files: Sequence[str]) -> Store | None:
    """Return the store that is to have the files, None if there are none.

    Raises `UsageError`: it is not named, or has another file of one of these names.
    """
    if not files:
        return None
    if store is None:
        raise UsageError(
            f"{folder} has the {len(files)} files of a model store; set FEEDMILL_MODELS to the"
            " store that is to have them. Nothing was written"
        )
    for name in files:
        with suppress(FileNotFoundError):
            if read_file(store, name, _MOST_BYTES) != (folder / _STORE / name).read_bytes():
                raise UsageError(
                    f"{place_of(store, name)} is another file than the backup's; set"
                    " FEEDMILL_MODELS to an empty store. Nothing was written"
                )
    return store


def _refuse_used(environment: Environment) -> None:
    """Raise `UsageError` if somebody wrote what counts under the prefix."""
    for spec in topic_table(environment.signals.all):
        if spec.name in _OF_NOBODY or not records_after(environment, {spec.name: {}}):
            continue
        # Offsets are also those of aborted records, and of markers.
        if next(read_all(environment, spec.name), None) is not None:
            raise UsageError(
                f"`{environment.topic(spec.name)}` has records: a backup is restored where nothing"
                " is. Nothing was written; create topics under another prefix with `feedmill"
                " --prefix … topics create`, and restore into that"
            )


class _Restorer:
    """Writes all topics of a backup in one transaction."""

    def __init__(self, environment: Environment) -> None:
        # By key of an override whether it holds for one version of a post.
        self._of_version: dict[bytes | None, bool] = {}
        self._moved = MovedRecords(environment, _ID, timeout_ms=_TRANSACTION_MS)

    @property
    def versions(self) -> tuple[str, ...]:
        """The keys of the overrides that hold for a version of a post."""
        keys = (key or b"" for key, is_of_one in self._of_version.items() if is_of_one)
        return tuple(key.decode("utf-8", "replace") for key in keys)

    @property
    def offsets(self) -> dict[str, dict[int, int]]:
        """By topic, config and models, where each record stood, and where it stands."""
        return self._moved.offsets

    def restore(self, folder: Path) -> None:
        """Write all records; raises `UsageError` or `KafkaException`, and then none counts."""
        moved = self._moved
        with moved.transaction():
            for topic in KEPT:
                for record in _records_of(folder / "topics" / f"{topic}.jsonl"):
                    if topic == "overrides":
                        self._of_version[record.key] = _is_of_a_version(record)
                    moved.write(topic, record)
            if moved.producer.flush(_ANSWER_S) or moved.refused:
                raise UsageError(
                    f"Kafka did not take all records ({', '.join(moved.refused[:1])}), so"
                    " none counts; run it again"
                )
            moved.producer.commit_transaction(_ANSWER_S)


def _records_of(path: Path) -> Iterator[TopicRecord]:
    decode = msgspec.json.Decoder(KeptRecord).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                kept = decode(line)
            except DECODE_ERRORS as error:
                raise UsageError(f"{path}, line {number}: {reason_of(error)}") from None
            yield TopicRecord(kept.offset, kept.at_ms, kept.key, kept.value, headers=kept.headers)


def _is_of_a_version(record: TopicRecord) -> bool:
    try:
        override = msgspec.json.decode(record.value or b"", type=Override)
    except DECODE_ERRORS:
        return False
    return override.post_offset is not None


# --- copies of topics -------------------------------------------------------------------------

# Settings come before what they are about.
COPIED = ("config", "models", "overrides", "posts", "engagements", "exposures", "labels")
# The group whose offsets say how far the other topics are copied, and the transactional id.
GROUP = "topics-copy"
# Kafka ends a transaction after five seconds.
_RECORDS, _SECONDS = 5_000, 1.0


def copy_topics(environment: Environment, from_prefix: str, made_by: MadeBy) -> dict[str, int]:
    """Copy all that is new under another prefix to `environment`; return how much of each topic.

    Raises `UsageError`: a topic is missing, the prefix is that of `environment`, or Kafka refuses
    or is away.
    """
    if from_prefix == environment.topic_prefix:
        raise UsageError(f"--from-prefix: expected another prefix than '{from_prefix}'")
    count_partitions(replace(environment, topic_prefix=from_prefix), COPIED)
    names = [environment.topic(topic) for topic in COPIED]
    with open_changes(environment, made_by) as changes:
        changes.announce(*(Audited(t, after={"copied_from": from_prefix}) for t in COPIED))
    with (
        kafka_errors(environment),
        keep_stamps(environment.kafka, environment.security, names),
        closing(_Copier(environment, from_prefix)) as copier,
    ):
        return {topic: copier.copy(topic) for topic in COPIED}


class _Copier:
    """Reads the topics of a prefix, and writes the records under the other, in transactions."""

    def __init__(self, environment: Environment, from_prefix: str) -> None:
        self._environment = environment
        self._source = replace(environment, topic_prefix=from_prefix)
        self._moved = MovedRecords(environment, GROUP)
        self._group = new_log_consumer(environment, ClientHealth(), group=GROUP)

    def copy(self, topic: str) -> int:
        """Copy a topic from where the last run ended to where it ends now."""
        count = 0
        if topic in OFFSET_FIELDS:
            self._moved.offsets[topic] = self._copied_before(topic)
        with ExitStack() as opened:
            records = self._records(opened, topic)
            while (taken := self._copy_some(topic, records)) > 0:
                count += taken
        return count

    def close(self) -> None:
        self._group.close()

    def _copied_before(self, topic: str) -> dict[int, int]:
        """Where earlier runs wrote the records of a topic, which all have one partition."""
        new = {(one.key, one.at_ms): one.offset for one in read_all(self._environment, topic)}
        source = read_all(self._source, topic) if new else ()
        places = {one.offset: new.get((one.key, one.at_ms)) for one in source}
        return {old: offset for old, offset in places.items() if offset is not None}

    def _records(self, opened: ExitStack, topic: str) -> Iterator[TopicRecord]:
        count = count_partitions(self._source, [topic])[topic]
        name = self._source.topic(topic)
        asked = [KafkaPartition(name, partition) for partition in range(count)]
        starts = (max(-1, at.offset) for at in self._group.committed(asked, _ANSWER_S))
        return _by_stamps(opened, self._source, topic, starts)

    def _copy_some(self, topic: str, records: Iterator[TopicRecord]) -> int:
        """Copy some in one transaction, with how far they are; return how many."""
        ends: dict[int, int] = {}
        count, until = 0, time.monotonic() + _SECONDS
        with self._moved.transaction():
            for record in records:
                ends[record.partition] = record.offset + 1
                count += 1
                # Of a batch that inflates too far no reader has the records.
                if not isinstance(record.value, PassedBatch):
                    self._moved.write(topic, record)
                if count >= _RECORDS or time.monotonic() > until:
                    break
            self._commit(self._source.topic(topic), ends)
        return count

    def _commit(self, name: str, ends: Mapping[int, int]) -> None:
        producer = self._moved.producer
        if ends:
            producer.send_offsets_to_transaction(
                [KafkaPartition(name, partition, end) for partition, end in ends.items()],
                self._group.consumer_group_metadata(),
                _ANSWER_S,
            )
        producer.commit_transaction(_ANSWER_S)
