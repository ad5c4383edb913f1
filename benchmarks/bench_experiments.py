"""What it takes to join an export of a million users with 25 million engagements.

    .venv/bin/python benchmarks/bench_experiments.py
    .venv/bin/python benchmarks/bench_experiments.py --users 100000 --engagements 2500000

Compares the join of a small export with numpy's sums of its rows.  Then it makes the Parquet of
the large one and joins it twice, each time in a process of its own: time, processor time, peak
memory, and whether both tables are the same to the byte.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import machine
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from feedmill.events.experiment import decode_experiment
from feedmill.events.signal import SignalNames
from feedmill.experiments.join import JoinedExperiment, join
from feedmill.experiments.kept_rows import DAY_MS, KINDS, SCHEMAS
from feedmill.experiments.parts import ExportFolder, Part, open_export

LIMIT_S, LIMIT_MB = 120, 1_200
BEGIN_MS = 1_790_000_000_000
WINDOW_MS = 7 * DAY_MS
PART_ROWS = 500_000
POSTS = 20_000
PAGES = 3
ACTIONS = [KINDS["like"], KINDS["reply"], KINDS["share"]]
KIND_RATES = (0.8, 0.08, 0.03, 0.01, 0.01, 0.06, 0.007, 0.003)
ARMS = ["control", "fresher"]
SETTING = {
    "arms": [
        {"name": "control", "share": 5000},
        {"name": "fresher", "share": 5000, "weights": {"half_life_hours": 6}},
    ],
    "feeds": ["global"],
    "salt": "s-1",
    "planned_n": 63_000,
    "guardrails": {"reporters": 0.25, "actions": 0.05},
}
RUN = JoinedExperiment(ARMS[1], decode_experiment(SETTING, SignalNames()), BEGIN_MS)

Columns = dict[str, np.ndarray]


class Readers:
    """Users over two weeks, some of whom read much, and what they do from a week before."""

    def __init__(self, users: int) -> None:
        self.rng = np.random.default_rng(1)
        self.ids = np.unique(self.rng.integers(0, 2**64, users, dtype=np.uint64))
        self.arms = self.rng.integers(0, 2, len(self.ids))
        self.enters_ms = BEGIN_MS + self.rng.integers(14 * DAY_MS, size=len(self.ids))
        levels = self.rng.lognormal(0, 1, len(self.ids)).cumsum()
        self._levels = levels / levels[-1]

    def engagements(self, rows: int) -> Columns:
        """Draw some; `user` is the place of the user."""
        rng = self.rng
        kind = rng.choice(8, rows, p=KIND_RATES)
        at_ms = BEGIN_MS - 7 * DAY_MS + rng.integers(28 * DAY_MS, size=rows)
        return {
            "user": np.searchsorted(self._levels, rng.random(rows)),
            "post": rng.integers(0, POSTS, rows),
            "kind": kind,
            "feed": (rng.random(rows) < 0.2).astype(np.int32),
            "at_ms": at_ms,
            "dwell_ms": np.where(kind == KINDS["dwell"], rng.integers(0, 60_000, rows), 0),
            "repeat": at_ms // DAY_MS * len(KINDS) + kind,
        }

    def write(self, folder: Path, rows: int) -> Iterator[Columns]:
        """Write an export with so many engagements, and yield those of each part."""
        export = ExportFolder(folder)
        parts = max(1, rows // PART_ROWS)
        end_ms = BEGIN_MS + 40 * DAY_MS
        for part in range(1, parts + 1):
            drawn = self.engagements(rows // parts)
            tables = {
                "engagements": self._engagement_rows(drawn),
                "exposures": self._exposure_rows(np.arange(part - 1, len(self.ids), parts)),
            }
            counts = {name: len(table) for name, table in tables.items()}
            times = {"engagements": {0: end_ms}}
            export.write(
                Part(part, part, {"engagements": {0: part}}, times, end_ms, counts), tables
            )
            yield drawn

    def _engagement_rows(self, drawn: Columns) -> Any:
        columns = {
            **drawn,
            "user": self.ids[drawn["user"]],
            "post": drawn["post"].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
            "stored_ms": drawn["at_ms"],
            "feed": names(drawn["feed"], ["global", "other"]),
        }
        schema = SCHEMAS["engagements"]
        return pa.table([pa.array(columns[f.name]).cast(f.type) for f in schema], schema=schema)

    def _exposure_rows(self, places: np.ndarray) -> Any:
        """Pages of these users, half a day after each other."""
        user = np.repeat(places, PAGES)
        page = np.tile(np.arange(PAGES), len(places))
        arms = names(self.arms[user], ARMS)
        columns = {
            **{"user": self.ids[user], "arm": arms, "computed_arm": arms},
            "experiment": names(np.zeros(len(user)), [RUN.name]),
            "feed": names(np.zeros(len(user)), ["global"]),
            **{"version": page, "first": 0 * page, "count": 0 * page + 10},
            "at_ms": self.enters_ms[user] + page * DAY_MS // 2,
            **{name: pa.nulls(len(user), pa.string()) for name in ("served", "client")},
        }
        schema = SCHEMAS["exposures"]
        arrays = [pa.array(columns[f.name]) for f in schema]
        return pa.table(
            [a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema
        )


def names(places: np.ndarray, values: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), pa.array(values))


def prove(folder: Path) -> None:
    """Compare a join with numpy's sums of the same rows."""
    readers = Readers(3_000)
    drawn = [*readers.write(folder, 60_000)]
    rows = {name: np.concatenate([one[name] for one in drawn]) for name in drawn[0]}
    join(open_export(folder), RUN, folder / "users.parquet")
    found = pa_parquet.read_table(folder / "users.parquet").to_pydict()
    assert found["user"] == readers.ids.tolist()
    assert found["served"] == [10 * PAGES] * len(readers.ids)
    ends_ms = readers.enters_ms[rows["user"]] + WINDOW_MS
    begins_ms = readers.enters_ms[rows["user"]]
    within = (rows["at_ms"] >= begins_ms) & (rows["at_ms"] < ends_ms) & (rows["feed"] == 0)
    key = np.stack([rows["user"], rows["post"], rows["repeat"]], axis=1)[within]
    once, place = np.unique(key, axis=0, return_index=True)
    kinds = rows["kind"][within][place]
    # A post that was shown counts once, each action for itself.
    seen = np.unique(once[kinds == KINDS["impression"], :2], axis=0)[:, 0]
    acted = once[np.isin(kinds, ACTIONS), 0]
    for column, users in (("impressions", seen), ("actions", acted)):
        assert found[column] == np.bincount(users, minlength=len(readers.ids)).tolist()
    days = [found[f"on_day{day}_impressions"] for day in range(RUN.setting.window_days)]
    assert found["impressions"] == np.sum(days, axis=0).tolist()


def measure(folder: Path, number: int) -> str:
    """Join in another process; print what it took and return the digest of the table."""
    out = folder / f"users{number}.parquet"
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--join", str(folder), str(out)],
        check=True,
        capture_output=True,
        text=True,
    )
    took_s = time.perf_counter() - began
    processor_s, peak_mb = map(float, done.stdout.split())
    print(
        f"joined in {took_s:.0f} s (limit {LIMIT_S}), {processor_s:.0f} s of processor,"
        f" {peak_mb:,.0f} MB (limit {LIMIT_MB:,})"
    )
    return hashlib.sha256(out.read_bytes()).hexdigest()


def join_here(folder: Path, out: Path) -> None:
    join(open_export(folder), RUN, out)
    used = getrusage(RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--engagements", type=int, default=25_000_000)
    parser.add_argument("--join", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.join:
        join_here(*options.join)
        return
    print(machine.describe())
    with tempfile.TemporaryDirectory() as folder:
        prove(Path(folder, "small"))
        export = Path(folder, "export")
        for _ in Readers(options.users).write(export, options.engagements):
            pass
        size = sum(file.stat().st_size for file in export.rglob("*.parquet")) / 1e6
        print(f"{options.users:,} users, {options.engagements:,} engagements: {size:,.0f} MB")
        digests = {measure(export, number) for number in range(2)}
        assert len(digests) == 1
        print("both tables are the same to the byte")


if __name__ == "__main__":
    main()
