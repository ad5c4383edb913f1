"""The folder of an export: parts, each with Parquet and with the offsets up to which it was read.

    key, key.check              the key of the hashes, made once; or what checks the one given
    parts/<first>-<last>.json   the record that makes a part count: written last, renamed into place
    <table>/<first>-<last>.parquet

A part has a number; a merged one has all between its first and its last, and replaces them.  Files
that no record names are what a killed process left, and are removed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pa_parquet
from msgspec import Struct

from feedmill.events.errors import UsageError
from feedmill.events.reasons import DECODE_ERRORS

KEY_BYTES = 32
# Of the rejected exposures so many are named in a part.
MOST_REJECTED = 1_000
# What a part can have; `sums` in place of engagements that were kept for long enough.
TABLES = ("exposures", "engagements", "quality", "sums")

# By topic and partition.
Offsets = dict[str, dict[int, int]]


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

    Raises
    ------
    UsageError
        There is no export, or a record of a part cannot be read.
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
        names = sorted(self.path.glob("parts/*.json"), key=_place)
        for file in names:
            try:
                part = _decode(file.read_bytes())
            except DECODE_ERRORS as error:
                raise UsageError(f"{file}: no record of a part: {error}") from None
            # What a merged part, which comes first, has replaced.
            if not parts or part.last > parts[-1].last:
                parts.append(part)
        return parts


@contextmanager
def exporting(folder: Path) -> Iterator[None]:
    """Make the folder of an export, and be the only exporter into it.

    Raises
    ------
    UsageError
        Another process exports into it.
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

    Raises
    ------
    UsageError
        There is none.
    """
    found = ExportFolder(folder)
    if not found.parts:
        raise UsageError(
            f"{folder} has no export; `feedmill experiments export --out {folder}` makes one"
        )
    return found


def key_of(folder: Path, given: Path | None) -> bytes:
    """Return the key of an export: the one that is given, or that was made; else make it.

    Raises
    ------
    UsageError
        What is given is no key, or it is another than before.
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


def _place(file: Path) -> tuple[int, int]:
    first, _, last = file.stem.partition("-")
    return int(first), -int(last)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
