"""The folder of an export: its rows, its parts, and what keeps it small.

    key, key.check              the key of the hashes, made once; or what checks the one given
    parts/<first>-<last>.json   the record that makes a part count: written last, renamed into place
    <table>/<first>-<last>.parquet

A part has Parquet, and the offsets up to which Kafka was read.  A part has a number; a merged part
has all numbers from its first to its last, and replaces the parts of these numbers.  Files that no
record names are what a killed process left, and are removed.

Users and posts are keyed hashes of 64 bits, so that whoever has the rows but not the key cannot ask
for a user by name.  A time is that of the event, never later than that of its record.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from msgspec import Struct

from feedmill.events.engagement import ENGAGEMENT_KINDS, Engagement
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.experiment import WHOLE, Experiment, Exposure
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.events.signal import Signal
from feedmill.experiments.assignment import arm_of

KINDS = {kind: number for number, kind in enumerate(ENGAGEMENT_KINDS)}
DAY_MS = 86_400_000
# Values of quality are kept in millionths: sums of integers do not depend on their order.
MILLIONTHS = 1_000_000

_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMAS: dict[str, Any] = {
    "exposures": pa.schema(
        [
            *(("user", pa.uint64()), ("experiment", _NAME), ("arm", _NAME)),
            *(("computed_arm", _NAME), ("feed", _NAME), ("version", pa.int64())),
            *(("first", pa.int32()), ("count", pa.int32()), ("at_ms", pa.int64())),
            *(("served", _NAME), ("client", _NAME)),
        ]
    ),
    "engagements": pa.schema(
        [
            *(("user", pa.uint64()), ("post", pa.uint64()), ("kind", pa.uint8()), ("feed", _NAME)),
            *(("at_ms", pa.int64()), ("stored_ms", pa.int64()), ("dwell_ms", pa.int32())),
            ("repeat", pa.uint64()),
        ]
    ),
    "quality": pa.schema(
        [
            *(("post", pa.uint64()), ("at_ms", pa.int64()), ("offset", pa.int64())),
            ("value", pa.int32()),
        ]
    ),
}

KEY_BYTES = 32
# Of the rejected exposures so many are named in a part.
MOST_REJECTED = 1_000
# What a part can have; `sums` in place of engagements that were kept for long enough.
TABLES = ("exposures", "engagements", "quality", "sums")
# By topic and partition.
Offsets = dict[str, dict[int, int]]
# So many parts of about a size become one.
MERGED = 64
SUMS_DAYS = 400
# What DuckDB may take, beside what the process has.
MEMORY_MB = 700
# Dwells of sums are rounded down to so much, up to a minute.
_DWELL_STEP_MS, _MOST_DWELL_MS = 5_000, 60_000
# A row for each user, day and feed, and each set of kinds that a post had of them.
_SUMS = f"""
    SELECT "user", "day", feed, kinds, dwell_ms, count(*)::INTEGER AS posts
    FROM (
        SELECT "user", post, at_ms // {DAY_MS} AS "day", feed,
            bit_or((1 << kind)::USMALLINT) AS kinds,
            least(max(dwell_ms) // {_DWELL_STEP_MS} * {_DWELL_STEP_MS}, {_MOST_DWELL_MS})
                AS dwell_ms
        FROM read_parquet(?)
        GROUP BY ALL
    )
    GROUP BY ALL
    ORDER BY ALL
"""


class KeyedHash:
    """Hashes of ids under a key, as unsigned integers of 64 bits."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Readers and posts come again and again.
        self.user = lru_cache(1 << 17)(self._of_user)
        self.post = lru_cache(1 << 17)(self._of_post)

    def _of_user(self, user_id: str) -> int:
        return self._hash(b"user", user_id)

    def _of_post(self, post_id: str) -> int:
        return self._hash(b"post", post_id)

    def repeat(self, event: Engagement, at_ms: int) -> int:
        """Return what tells events of a user and a post apart: the id, else kind and day."""
        if event.event_id is not None:
            return self._hash(b"event", event.event_id)
        return at_ms // DAY_MS * len(KINDS) + KINDS[event.kind]

    def _hash(self, person: bytes, text: str) -> int:
        digest = blake2b(text.encode(), digest_size=8, key=self._key, person=person).digest()
        return int.from_bytes(digest, "big")


class KeptRows:
    """Rows that are not written yet; `take` returns them as tables by name and forgets them."""

    def __init__(self, key: bytes) -> None:
        self._hash = KeyedHash(key)
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in SCHEMAS}

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def add_exposure(self, event: Exposure, experiment: Experiment | None, stored_ms: int) -> None:
        """Add an exposure of an experiment, whose arm is computed again here.

        That is the arm at full traffic: how far a ramp was matters to no user's arm.

        Raises `BadEvent`: there is no such experiment, arm or feed.
        """
        if experiment is None:
            raise BadEvent(
                f"Expected an experiment that was started, got {event.experiment!r} - at"
                " `$.experiment`"
            )
        for name, known, path in (
            (event.arm, (*experiment.shares,), "$.arm"),
            (event.served or event.arm, (*experiment.shares,), "$.served"),
            (event.feed, experiment.feeds, "$.feed"),
        ):
            if name not in known:
                raise BadEvent(
                    f"Expected one of the experiment's ({', '.join(known)}), got {name[:80]!r} - at"
                    f" `{path}`"
                )
        shares = [*experiment.shares.items()]
        computed = arm_of(experiment.salt, event.experiment, event.user_id, WHOLE, shares)
        self._rows["exposures"].append(
            (
                *(self._hash.user(event.user_id), event.experiment, event.arm, computed),
                *(event.feed, event.version, event.first, event.count),
                *(min(event.at_ms, stored_ms), event.served, event.client),
            )
        )

    def add_engagement(self, event: Engagement, stored_ms: int) -> None:
        """Add an engagement."""
        at_ms = min(event.at_ms, stored_ms)
        self._rows["engagements"].append(
            (
                *(self._hash.user(event.user_id), self._hash.post(event.post_id)),
                *(KINDS[event.kind], event.feed, at_ms, stored_ms, int(event.dwell_ms or 0)),
                self._hash.repeat(event, at_ms),
            )
        )

    def add_quality(self, signal: Signal, stored_ms: int, offset: int) -> None:
        """Add a value of quality; one of a model that failed changes nothing."""
        if signal.value is not None:
            value = round(signal.value * MILLIONTHS)
            self._rows["quality"].append(
                (self._hash.post(signal.post_id), stored_ms, offset, value)
            )

    def take(self) -> dict[str, Any]:
        """Return the tables that have rows."""
        tables = {}
        for name, rows in self._rows.items():
            if rows:
                schema = SCHEMAS[name]
                columns = zip(*rows, strict=True)
                tables[name] = pa.table(
                    [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)],
                    schema=schema,
                )
        self._rows = {name: [] for name in SCHEMAS}
        return tables


class LostRecords(Struct, frozen=True):
    """Records that were gone before they were read, stamped between these times, Unix ms."""

    topic: str
    partition: int
    first: int
    end: int
    from_ms: int
    to_ms: int


class RejectedEvent(Struct, frozen=True):
    """A record that is no exposure, where it stands and why."""

    topic: str
    partition: int
    offset: int
    reason: str


class KeptSetting(Struct, frozen=True):
    """A record of `config` that took effect, or one of `models`, whose value is not kept."""

    topic: str
    offset: int
    at_ms: int
    key: str
    value: str | None = None


class MeasuredOverlap(Struct, frozen=True):
    """Which part of the control's top ten an arm had in a feed."""

    experiment: str
    arm: str
    feed: str
    at_ms: int
    overlap: float


class Part(Struct, frozen=True):
    """What a part holds.

    Attributes
    ----------
    first, last
        The numbers of the parts that were merged, equal if it was none.
    offsets
        The next offset to read.
    last_ms
        By topic and partition the time of the last record read.
    through_ms
        Up to when everything is here.
    tables
        By table how many rows it has; those that were kept for long enough are left out.
    is_summed
        Whether the engagements were replaced by sums, and the exposures dropped.
    rejected_count
        How many exposures were rejected; `rejected` has the first of them.
    topic_ids
        By topic the id that Kafka gave it: a topic that is created again has another.
    """

    first: int
    last: int
    offsets: Offsets
    last_ms: Offsets
    through_ms: int
    tables: dict[str, int]
    is_summed: bool = False
    lost: tuple[LostRecords, ...] = ()
    rejected: tuple[RejectedEvent, ...] = ()
    rejected_count: int = 0
    topic_ids: dict[str, str] = {}
    settings: tuple[KeptSetting, ...] = ()
    overlaps: tuple[MeasuredOverlap, ...] = ()

    @property
    def newest_ms(self) -> int:
        """The time of the last record that was read, of all partitions."""
        return max((ms for by in self.last_ms.values() for ms in by.values()), default=0)

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.first:08}-{self.last:08}"


_decode = msgspec.json.Decoder(Part).decode


class ExportFolder:
    """The parts of an export in the order of their numbers.

    Raises `UsageError`: there is no export, or a record of a part cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.parts = self._read()

    @property
    def last(self) -> Part | None:
        """The last part, None before the first."""
        return self.parts[-1] if self.parts else None

    def file(self, table: str, part: Part) -> Path:
        """Return where a table of a part is."""
        return self.path / table / f"{part.name}.parquet"

    def files(self, table: str) -> list[str]:
        """Return all files of a table."""
        return [str(self.file(table, part)) for part in self.parts if table in part.tables]

    def write(self, part: Part, tables: Mapping[str, Any]) -> None:
        """Write the next part: its tables, and then the record that makes it count."""
        for name, rows in tables.items():
            with self.replacing(self.file(name, part)) as unfinished:
                pa_parquet.write_table(rows, unfinished, compression="zstd")
        self.record(part)
        self.parts.append(part)

    def record(self, part: Part) -> None:
        """Write the record of a part, in place of an earlier one of that name."""
        with self.replacing(self.path / "parts" / f"{part.name}.json") as unfinished:
            unfinished.write_bytes(msgspec.json.encode(part))

    def replace(self, old: Sequence[Part], new: Part) -> None:
        """Put a part whose files are there in the place of those that it was made of."""
        self.record(new)
        at = self.parts.index(old[0])
        self.parts[at : at + len(old)] = [new]
        self.tidy()

    @contextmanager
    def replacing(self, file: Path) -> Iterator[Path]:
        """Give a file to write, which takes this place when it is on the disk."""
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        yield unfinished
        _sync(unfinished)
        unfinished.replace(file)
        _sync(file.parent)

    def tidy(self) -> None:
        """Remove files that belong to no part."""
        known = {self.file(table, part) for part in self.parts for table in part.tables}
        known |= {self.path / "parts" / f"{part.name}.json" for part in self.parts}
        for name in ("parts", *TABLES):
            for file in (self.path / name).glob("*"):
                if file not in known:
                    file.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes that change files out; parts are read again within."""
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.parts = self._read()
            yield

    def _read(self) -> list[Part]:
        parts: list[Part] = []
        names = sorted(self.path.glob("parts/*.json"), key=_numbers_of)
        for file in names:
            try:
                part = _decode(file.read_bytes())
            except FileNotFoundError:
                # It was merged meanwhile.
                return self._read()
            except DECODE_ERRORS as error:
                raise UsageError(f"{file}: no record of a part: {error}") from None
            # What a merged part, which comes first, has replaced.
            if not parts or part.last > parts[-1].last:
                parts.append(part)
        return parts


@contextmanager
def exporting(folder: Path) -> Iterator[None]:
    """Make the folder of an export, and be the only exporter into it.

    Raises `UsageError`: another process exports into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "exporter").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process exports into {folder}; end it first") from None
        yield


def open_export(folder: Path) -> ExportFolder:
    """Open an export that is there.

    Raises `UsageError`: there is none.
    """
    found = ExportFolder(folder)
    if not found.parts:
        raise UsageError(
            f"{folder} has no export; `feedmill experiments export --out {folder}` makes one"
        )
    return found


def key_of(folder: Path, given: Path | None) -> bytes:
    """Return the key of an export: the one that is given, or that was made; else make it.

    Raises `UsageError`: what is given is no key, or it is another than before.
    """
    file = folder / "key"
    if given is None:
        if not file.exists():
            if (folder / "key.check").exists():
                raise UsageError(f"{folder} was made under a key that was given; give it by --key")
            _make_key(file)
        return file.read_bytes()
    try:
        key = given.read_bytes().strip()
    except FileNotFoundError:
        raise UsageError(f"{given} does not exist; it is a file with a key") from None
    if not 16 <= len(key) <= 64:
        raise UsageError(f"{given}: expected a key of 16 to 64 bytes, got {len(key)}")
    check = folder / "key.check"
    digest = blake2b(digest_size=8, key=key, person=b"check").hexdigest()
    if file.exists() or (check.exists() and check.read_text() != digest):
        raise UsageError(f"{given}: {folder} was made under another key")
    check.write_text(digest)
    return key


def _make_key(file: Path) -> None:
    unfinished = file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as made:
        made.write(os.urandom(KEY_BYTES).hex().encode())
    _sync(unfinished)
    unfinished.replace(file)


def _numbers_of(file: Path) -> tuple[int, int]:
    first, _, last = file.stem.partition("-")
    return int(first), -int(last)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def out_of_core(folder: Path, memory_mb: int = MEMORY_MB) -> Iterator[Any]:
    """Give a connection that keeps at most so much in memory, and the rest in this folder."""
    spill = folder / "spill"
    with duckdb.connect(
        config={
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(spill),
            # Each more needs memory of its own.
            "threads": 2,
        }
    ) as connection:
        yield connection
    for file in spill.glob("*"):
        file.unlink()
    if spill.exists():
        spill.rmdir()


def merge(export: ExportFolder) -> None:
    """Merge the last parts while there are many of about a size; under the folder's lock."""
    while (run := _last_of_a_size(export.parts)) is not None:
        last = run[-1]
        merged = msgspec.structs.replace(
            last,
            first=run[0].first,
            tables=_added_counts([part.tables for part in run]),
            is_summed=any(part.is_summed for part in run),
            lost=tuple(records for part in run for records in part.lost),
            rejected=tuple(event for part in run for event in part.rejected)[:MOST_REJECTED],
            rejected_count=sum(part.rejected_count for part in run),
            settings=tuple(setting for part in run for setting in part.settings),
            overlaps=tuple(overlap for part in run for overlap in part.overlaps),
        )
        with out_of_core(export.path) as db:
            for table in merged.tables:
                files = [str(export.file(table, part)) for part in run if table in part.tables]
                with export.replacing(export.file(table, merged)) as unfinished:
                    _copy(db, "FROM read_parquet(?, union_by_name = true)", [files], unfinished)
        export.replace(run, merged)


def _last_of_a_size(parts: Sequence[Part]) -> list[Part] | None:
    run: list[Part] = []
    for part in reversed(parts):
        if run and _size(part) != _size(run[0]):
            break
        run.insert(0, part)
    return run if len(run) >= MERGED else None


def _size(part: Part) -> tuple[int, bool]:
    """The number of times that it was merged, and whether it is sums."""
    size, parts = 0, part.last - part.first + 1
    while parts >= MERGED:
        size, parts = size + 1, parts // MERGED
    return size, part.is_summed


def _added_counts(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    added = {table: sum(rows.get(table, 0) for rows in counts) for table in TABLES}
    return {table: rows for table, rows in added.items() if rows}


def drop_old(export: ExportFolder, keep_days: int) -> None:
    """Replace parts of more than so many days ago by sums, and drop old sums; under the lock."""
    if export.last is None:
        return
    now_ms = export.last.newest_ms
    for part in [*export.parts]:
        age_ms = now_ms - part.newest_ms
        if age_ms > SUMS_DAYS * DAY_MS and part.tables:
            export.replace([part], msgspec.structs.replace(part, tables={}, is_summed=True))
        elif age_ms > keep_days * DAY_MS and not part.is_summed:
            tables = {}
            if "engagements" in part.tables:
                summed = msgspec.structs.replace(part, tables={"sums": 1})
                with (
                    out_of_core(export.path) as db,
                    export.replacing(export.file("sums", summed)) as unfinished,
                ):
                    source = [str(export.file("engagements", part))]
                    tables["sums"] = _copy(db, _SUMS, [source], unfinished)
            export.replace([part], msgspec.structs.replace(part, tables=tables, is_summed=True))


def forget(export: ExportFolder, user: int) -> int:
    """Remove the rows of a user, by their hash, and return how many; under the lock."""
    removed = 0
    with out_of_core(export.path) as db:
        for part in export.parts:
            for table in part.tables.keys() - {"quality"}:
                file = export.file(table, part)
                found = db.execute(
                    'SELECT count(*) FROM read_parquet(?) WHERE "user" = ?::UBIGINT',
                    [[str(file)], user],
                ).fetchone()[0]
                if found:
                    with export.replacing(file) as unfinished:
                        query = f'SELECT * FROM read_parquet(?) WHERE "user" != {user}::UBIGINT'
                        _copy(db, query, [[str(file)]], unfinished)
                    removed += found
    return removed


def remember_forgotten(export: ExportFolder, user: int, at_ms: int) -> None:
    """Have the exporter leave out what it has read of a user up to a time; under the lock."""
    known = _forgotten(export)
    known[user] = at_ms
    with export.replacing(export.path / "forgotten.json") as unfinished:
        unfinished.write_bytes(msgspec.json.encode(known))


def drop_forgotten(export: ExportFolder, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables without the rows of users that were forgotten since they were read."""
    known = _forgotten(export)
    left = dict(tables)
    for table in left.keys() - {"quality"} if known else ():
        rows = left[table]
        users, times = (rows.column(name).to_pylist() for name in ("user", "at_ms"))
        kept = [known.get(user, -1) < at_ms for user, at_ms in zip(users, times, strict=True)]
        left[table] = rows.filter(kept)
    return left


def _forgotten(export: ExportFolder) -> dict[int, int]:
    file = export.path / "forgotten.json"
    return msgspec.json.decode(file.read_bytes(), type=dict[int, int]) if file.exists() else {}


def _copy(db: Any, query: str, values: list[Any], file: Path) -> int:
    """Write what a query finds to a file and return how many rows that is."""
    db.execute(f"COPY ({query}) TO '{quoted(file)}' (FORMAT parquet, COMPRESSION zstd)", values)
    return int(db.fetchone()[0])


def quoted(file: Path) -> str:
    """Return a file's name as it stands between quotes."""
    return str(file).replace("'", "''")
