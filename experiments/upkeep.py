"""What keeps an export small: parts are merged, old ones become sums, users are forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from feedmill.experiments.kept_rows import DAY_MS
from feedmill.experiments.parts import MOST_REJECTED, TABLES, ExportFolder, Part

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
            tables=_added([part.tables for part in run]),
            is_summed=any(part.is_summed for part in run),
            lost=tuple(one for part in run for one in part.lost),
            rejected=tuple(one for part in run for one in part.rejected)[:MOST_REJECTED],
            rejected_count=sum(part.rejected_count for part in run),
            settings=tuple(one for part in run for one in part.settings),
            overlaps=tuple(one for part in run for one in part.overlaps),
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


def _added(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    added = {table: sum(one.get(table, 0) for one in counts) for table in TABLES}
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
