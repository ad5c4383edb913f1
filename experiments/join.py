"""The rows of an export become one row a user, as `feedmill experiments analyse` reads them.

A user enters with the first exposure, at its time and with its arm; from then on the window runs.
DuckDB goes through the users by ranges of their hashes, so that what it holds does not grow with
the export.  Sums are of integers and users come in order: the same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from feedmill.events.engagement import EngagementKind
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Experiment
from feedmill.events.metric import Metric
from feedmill.experiments.export_folder import (
    DAY_MS,
    KINDS,
    MEMORY_MB,
    MILLIONTHS,
    ExportFolder,
    out_of_core,
    quoted,
)

HOUR_MS = 3_600_000
BEFORE_MS = 14 * DAY_MS
# For so long after a window's end its events may still come; of a window below an hour a twelfth.
LATE_MS = HOUR_MS
# How many engagements a range of users has, about.
_RANGE_ROWS = 2_500_000
IMPRESSION, _DWELL = KINDS["impression"], KINDS["dwell"]
# When and where an event was: before the exposure, in the window, or in it in other feeds.
_BEFORE, _WITHIN, _ELSEWHERE = range(3)


@dataclass(frozen=True)
class JoinedExperiment:
    """An experiment with its setting; when it began, and ended or None, Unix milliseconds."""

    name: str
    setting: Experiment
    started_ms: int
    stopped_ms: int | None = None


@dataclass(frozen=True)
class JoinedUsers:
    """What a join found.

    Attributes
    ----------
    users, complete, mismatched
        How many users were exposed, of them with a complete window, and with another arm than the
        assignment gives.
    by_arm
        By arm, how many users were exposed.
    first_ms
        The first exposure, Unix milliseconds.
    other_lists
        By arm, which part of its pages showed another list than the arm's.
    early
        How many exposures are dated before the start; they are left out.
    late
        How many engagements, of how many users, came when the windows had been called complete.
    feed_shares
        By feed, which part of the impressions of posts shown in it was in it, as far as they say.
    """

    users: int
    complete: int
    mismatched: int
    by_arm: dict[str, int]
    first_ms: int
    other_lists: dict[str, float]
    early: int
    late: tuple[int, int] = (0, 0)
    feed_shares: dict[str, float] = field(default_factory=dict)


def join(
    export: ExportFolder, run: JoinedExperiment, out: Path, memory_mb: int = MEMORY_MB
) -> JoinedUsers:
    """Write one row a user to a Parquet file.

    Raises `UsageError`: a metric cannot be computed from engagements, or nobody was exposed.
    """
    metrics = run.setting.all_metrics
    for name, metric in metrics.items():
        if not metric.kinds and (name != "quality" or metric.per != "impression"):
            raise UsageError(
                f"metric {name!r} has no `kinds`; of those without there is `quality`, per"
                " impression"
            )
    rows = sum(part.tables.get("engagements", 0) for part in export.parts)
    ranges = max(1, -(-rows // _RANGE_ROWS))
    with out_of_core(export.path, memory_mb) as db:
        found = replace(_expose(db, export, run), feed_shares=_feed_shares(db, export, run))
        columns = ", ".join(f"m{place} BIGINT" for place in range(len(metrics)))
        db.execute(f'CREATE TABLE sums ("user" UBIGINT, place TINYINT, seen BIGINT, {columns})')
        db.execute(f'CREATE TABLE days ("user" UBIGINT, "day" BIGINT, seen BIGINT, {columns})')
        for number in range(ranges):
            first, end = (place * 2**64 // ranges for place in (number, number + 1))
            users = f'"user" BETWEEN {first} AND {end - 1}'
            late = _sum_events(db, export, run, users)
            found = replace(found, late=(found.late[0] + late[0], found.late[1] + late[1]))
            _sum_sums(db, export, run, users)
        _write(db, run.setting, out)
    return found


def exposed_users(export: ExportFolder, run: JoinedExperiment) -> JoinedUsers:
    """Return what `join` would find, without reading engagements.

    Raises `UsageError`: nobody was exposed.
    """
    with out_of_core(export.path) as db:
        return _expose(db, export, run)


def _expose(db: Any, export: ExportFolder, run: JoinedExperiment) -> JoinedUsers:
    """Make tables of each user's first exposure, and of the positions requested in the window."""
    if not export.files("exposures") or export.last is None:
        raise _nobody(export, run)
    ends_ms = 2**62 if run.stopped_ms is None else run.stopped_ms
    db.execute(
        f"""
        CREATE TABLE pages AS SELECT DISTINCT * FROM (
            SELECT NULL::VARCHAR AS client WHERE false
            UNION ALL BY NAME FROM read_parquet(?, union_by_name = true)
        )
        WHERE experiment = ? AND feed IN ({_feeds(run.setting)}) AND at_ms < ?
        """,
        [export.files("exposures"), run.name, ends_ms],
    )
    early = db.execute("DELETE FROM pages WHERE at_ms < ?", [run.started_ms]).fetchone()[0]
    window_ms = round(run.setting.window_hours * HOUR_MS)
    late_ms = LATE_MS if window_ms >= HOUR_MS else window_ms // 12
    db.execute(
        """
        CREATE TABLE exposed AS
        SELECT "user", first.at_ms AS first_ms, first.arm AS arm, first.computed AS computed_arm,
            nullif(first.client, '') AS client,
            first.at_ms + ? <= ? AND first.at_ms + ? <= ? AS complete
        FROM (
            SELECT "user", min({'at_ms': at_ms, 'arm': arm, 'computed': computed_arm,
                'client': coalesce(client, '')}) AS first
            FROM pages GROUP BY "user"
        )
        """,
        [window_ms + late_ms, export.last.through_ms, window_ms, ends_ms],
    )
    db.execute(
        """
        CREATE TABLE requested AS SELECT "user", sum("count")::BIGINT AS served,
            count(DISTINCT pages.arm) AS arm_count
        FROM pages JOIN exposed USING ("user") WHERE at_ms < first_ms + ? GROUP BY "user"
        """,
        [window_ms],
    )
    users, complete, mismatched, first_ms = db.execute(
        """
        SELECT count(*), count(*) FILTER (complete), count(*) FILTER (arm != computed_arm),
            min(first_ms) FROM exposed
        """
    ).fetchone()
    if not users:
        raise _nobody(export, run, early)
    other = "SELECT arm, avg((coalesce(served, arm) != arm)::INTEGER) FROM pages GROUP BY arm"
    other_lists = dict(db.execute(other).fetchall())
    db.execute("DROP TABLE pages")
    by_arm = dict(
        db.execute("SELECT arm, count(*) FROM exposed GROUP BY arm ORDER BY arm").fetchall()
    )
    return JoinedUsers(users, complete, mismatched, by_arm, first_ms, other_lists, early)


def _nobody(export: ExportFolder, run: JoinedExperiment, early: int = 0) -> UsageError:
    before = f": {early:,} are dated before its start and left out" if early else ""
    return UsageError(f"{export.path} has no exposure of the experiment {run.name!r}{before}")


def _feed_shares(db: Any, export: ExportFolder, run: JoinedExperiment) -> dict[str, float]:
    """Return by feed of an experiment which part of the impressions of its posts it had."""
    if not export.files("engagements"):
        return {}
    found = db.execute(
        f"""
        WITH shown AS (
            SELECT post, feed, count(*) AS seen FROM read_parquet(?)
            WHERE kind = {IMPRESSION} AND feed IS NOT NULL AND at_ms >= ? AND at_ms < ?
            GROUP BY ALL
        )
        SELECT own.feed, sum(own.seen) / sum(total) FROM shown own
        JOIN (SELECT post, sum(seen) AS total FROM shown GROUP BY post) USING (post)
        WHERE own.feed IN ({_feeds(run.setting)}) GROUP BY own.feed ORDER BY own.feed
        """,
        [export.files("engagements"), run.started_ms, run.stopped_ms or 2**62],
    ).fetchall()
    return {feed: round(float(share), 6) for feed, share in found}


def _sum_events(
    db: Any, export: ExportFolder, run: JoinedExperiment, users: str
) -> tuple[int, int]:
    """Add the sums of the engagements of these users; return how many came late, of how many."""
    if not export.files("engagements"):
        return 0, 0
    setting, window_ms = run.setting, round(run.setting.window_hours * HOUR_MS)
    # A repeated event counts at its first time.
    db.execute(
        f"""
        CREATE OR REPLACE TABLE events AS
        SELECT "user", post, min(kind) AS kind, min(e.at_ms) AS at_ms,
            any_value(first_ms) AS first_ms, min(e.at_ms) < any_value(first_ms) AS is_before,
            min(stored_ms) AS stored_ms, max(dwell_ms) AS dwell_ms,
            bool_and(feed IS NOT NULL AND feed NOT IN ({_feeds(setting)})) AS is_elsewhere
        FROM read_parquet(?) e JOIN exposed USING ("user")
        WHERE {users} AND e.at_ms >= ? AND e.at_ms >= first_ms - {BEFORE_MS}
            AND e.at_ms < first_ms + {window_ms}
        GROUP BY "user", post, repeat
        """,
        [export.files("engagements"), run.started_ms - BEFORE_MS],
    )
    metrics = setting.all_metrics.values()
    values = _join_quality(db, export) if any(not metric.kinds for metric in metrics) else "events"
    posts = ", ".join(f"({of_post(metric)})::BIGINT AS v{n}" for n, metric in enumerate(metrics))
    seen = f"FILTER (kind = {IMPRESSION})"
    db.execute(
        f"""
        CREATE OR REPLACE TABLE of_posts AS
        SELECT "user", CASE WHEN is_before THEN {_BEFORE}
            WHEN is_elsewhere THEN {_ELSEWHERE} ELSE {_WITHIN} END AS place,
            coalesce(min(at_ms) {seen}, min(at_ms)) // {DAY_MS}
                - any_value(first_ms) // {DAY_MS} AS "day",
            least(count(*) {seen}, 1) AS seen, {posts}
        FROM {values} WHERE NOT (is_before AND is_elsewhere)
        GROUP BY "user", post, place
        """
    )
    sums = ", ".join(f"sum(v{place})" for place in range(len(metrics)))
    db.execute(
        f"""
        INSERT INTO sums SELECT "user", place, sum(seen), {sums} FROM of_posts GROUP BY ALL;
        INSERT INTO days SELECT "user", "day", sum(seen), {sums} FROM of_posts
        WHERE place = {_WITHIN} GROUP BY ALL
        """
    )
    late: tuple[int, int] = db.execute(
        'SELECT count(*), count(DISTINCT "user") FROM events WHERE NOT is_before AND NOT'
        f" is_elsewhere AND stored_ms > first_ms + {window_ms + LATE_MS}"
    ).fetchone()
    return late


def _join_quality(db: Any, export: ExportFolder) -> str:
    """Give each event the quality that its post had when its record was stored."""
    if not export.files("quality"):
        return "(SELECT *, 0 AS quality FROM events)"
    db.execute(
        """
        CREATE OR REPLACE TABLE rated AS
        SELECT post AS rated_post, at_ms AS rated_ms, arg_max(value, "offset") AS quality
        FROM read_parquet(?) GROUP BY ALL
        """,
        [export.files("quality")],
    )
    return "events ASOF LEFT JOIN rated ON post = rated_post AND stored_ms >= rated_ms"


def _sum_sums(db: Any, export: ExportFolder, run: JoinedExperiment, users: str) -> None:
    """Add what sums say of days before the exposure; they have no quality, and know no order."""
    if not export.files("sums"):
        return
    metrics = run.setting.all_metrics.values()
    sums = ", ".join(f"sum({_of_sum(metric)})" for metric in metrics)
    db.execute(
        f"""
        INSERT INTO sums SELECT "user", {_BEFORE},
            coalesce(sum(posts) FILTER (kinds & {1 << IMPRESSION} != 0), 0), {sums}
        FROM read_parquet(?) JOIN exposed USING ("user")
        WHERE {users} AND ("day" + 1) * {DAY_MS} <= first_ms
            AND "day" * {DAY_MS} >= first_ms - {BEFORE_MS}
            AND (feed IS NULL OR feed IN ({_feeds(run.setting)}))
        GROUP BY "user"
        """,
        [export.files("sums")],
    )


def of_post(metric: Metric) -> str:
    """What a metric sums over the events of a user with a post."""
    seen = f"FILTER (kind = {IMPRESSION})"
    if not metric.kinds:
        first = "{'at_ms': at_ms, 'stored_ms': stored_ms, 'quality': quality}"
        return f"coalesce((min({first}) {seen}).quality, 0)"
    counts = _is_any(metric.kinds, metric)
    if metric.per != "impression":
        return f"count(*) FILTER ({counts})"
    taken = f"coalesce(max(at_ms) FILTER ({counts}) >= min(at_ms) {seen}, false)"
    return f"{taken} AND NOT bool_or({_is_any(metric.unless, metric)})" if metric.unless else taken


def _is_any(kinds: Sequence[EngagementKind], metric: Metric) -> str:
    numbers = ", ".join(str(KINDS[kind]) for kind in kinds)
    return f"kind IN ({numbers}) AND (kind != {_DWELL} OR dwell_ms >= {metric.dwell_ms})"


def _of_sum(metric: Metric) -> str:
    """What a metric sums over posts that had the same kinds of events of a user on a day."""
    if not metric.kinds:
        return "0"
    if metric.per != "impression":
        return f"posts * ({_how_many(metric.kinds, metric)})"
    taken = f"kinds & {1 << IMPRESSION} != 0 AND ({_how_many(metric.kinds, metric)}) > 0"
    if metric.unless:
        taken += f" AND ({_how_many(metric.unless, metric)}) = 0"
    return f"CASE WHEN {taken} THEN posts ELSE 0 END"


def _how_many(kinds: Sequence[EngagementKind], metric: Metric) -> str:
    whole = sum(1 << KINDS[kind] for kind in kinds if kind != "dwell")
    dwells = f" + (dwell_ms >= {metric.dwell_ms} AND kinds & {1 << _DWELL} != 0)::INTEGER"
    return f"bit_count((kinds & {whole})::INTEGER)" + (dwells if "dwell" in kinds else "")


def _feeds(setting: Experiment) -> str:
    # Names of feeds have neither quotes nor backslashes.
    return ", ".join(f"'{feed}'" for feed in setting.feeds)


def _write(db: Any, setting: Experiment, out: Path) -> None:
    """Write the table, ordered by user."""
    metrics = setting.all_metrics

    def sums(alias: str, before: str, missing: str) -> str:
        found = [
            f"{missing.format(f'{alias}.m{place}')}{'' if metric.kinds else f' / {MILLIONTHS}'}"
            f' AS "{before}{name}"'
            for place, (name, metric) in enumerate(metrics.items())
        ]
        return ", ".join(found)

    names = {"seen": ("impressions", "")}
    for place, (name, metric) in enumerate(metrics.items()):
        names[f"m{place}"] = (name, "" if metric.kinds else f" / {MILLIONTHS}")
    by_day = {
        f'"on_day{day}_{name}"': f'(sum({what}) FILTER ("day" = {day}))::BIGINT{scaled}'
        for day in range(setting.window_days)
        for what, (name, scaled) in names.items()
    }
    days = ", ".join(f"{value} AS {name}" for name, value in by_day.items())
    # Both kinds of sources may tell of the time before.
    added = ", ".join(f"sum(m{place})::BIGINT AS m{place}" for place in range(len(metrics)))
    unfinished = out.with_name(out.name + ".unfinished")
    db.execute(
        f"""
        CREATE TABLE added AS
        SELECT "user", place, sum(seen)::BIGINT AS seen, {added} FROM sums GROUP BY ALL
        """
    )
    db.execute(
        f"""
        COPY (
            SELECT "user", arm, computed_arm, first_ms AS first_exposure_ms, complete,
                coalesce(served, 0) AS served, coalesce(w.seen, 0) AS impressions,
                {sums("w", "", "coalesce({}, 0)")}, b.seen AS pre_impressions,
                {sums("b", "pre_", "{}")}, {sums("x", "elsewhere_", "coalesce({}, 0)")},
                {", ".join(f"coalesce({name}, 0) AS {name}" for name in by_day)},
                coalesce(arm_count, 1) AS arm_count, client
            FROM exposed LEFT JOIN requested USING ("user")
            LEFT JOIN (FROM added WHERE place = {_WITHIN}) w USING ("user")
            LEFT JOIN (SELECT "user", {days} FROM days GROUP BY "user") d USING ("user")
            LEFT JOIN (FROM added WHERE place = {_BEFORE}) b USING ("user")
            LEFT JOIN (FROM added WHERE place = {_ELSEWHERE}) x USING ("user")
            ORDER BY "user"
        ) TO '{quoted(unfinished)}' (FORMAT parquet, COMPRESSION zstd)
        """
    )
    unfinished.replace(out)
