"""`feedmill experiments export|join|forget`: what readers of an experiment did, kept in files.

Modules that need the extra `experiments` are imported by the commands that use them.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from feedmill.cli import FILE, FOLDER, Duration, flag, option
from feedmill.cli.options import with_environment
from feedmill.cli.output import Answer, answers, json_option, print_answer, warn
from feedmill.events.errors import UsageError
from feedmill.operations.experiments.runs import ExperimentRun
from feedmill.operations.times import duration_text
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.kafka.topic_reader import records_after
from feedmill.streams.settings.clock import now_ms

if TYPE_CHECKING:
    from feedmill.events.experiment import Experiment
    from feedmill.experiments.checks import ExperimentRecord
    from feedmill.experiments.export_folder import Part
    from feedmill.experiments.join import JoinedUsers
    from feedmill.experiments.report import Report

# An exporter that runs writes a part each minute.
_BEHIND_MS = 15 * 60_000


@click.command()
@option("--out", "The folder of the export.", FOLDER, required=True)
@flag("--follow", "Go on until Ctrl-C.")
@option("--key", "A file with the key of the hashes; else one is made.", FILE)
@option(
    "--keep-days",
    "How long engagements are kept; then their sums, to 400 days.",
    click.IntRange(8, 400),
    100,
)
@option("--every", "How often to write.", Duration(), "60s")
@json_option
@with_environment
def export(
    *,
    environment: Environment,
    out: Path,
    follow: bool,
    key: Path | None,
    keep_days: int,
    every: int,
    as_json: bool,
) -> None:
    """Keep exposures and engagements as Parquet, each once.

    Kafka drops them after eight days, so begin it 14 days before an experiment, for what readers
    did before. End it at any moment, and start it again: it goes on where it was. What Kafka
    dropped meanwhile is a gap, which `analyse` refuses.

    Users and posts are hashed under a key, which stays in the folder unless --key names it.
    Exposures that break the contract are named in the parts, and are dead letters.
    """
    from feedmill.operations.experiments.export import ExportOptions
    from feedmill.operations.experiments.export import export as run_export

    def tell(part: Part) -> None:
        content = {"part": part.name, **part.tables, "rejected": part.rejected_count}
        rows = ", ".join(f"{count:,} {table}" for table, count in part.tables.items())
        text = f"part {part.first}: {rows or 'no rows'}"
        print_answer(Answer(content, [text]), as_json=as_json)
        for one in part.rejected[:3]:
            where = f"{one.topic}[{one.partition}] offset {one.offset}"
            warn(f"{where} is left out: {one.reason}")
        for lost in part.lost:
            where = f"{lost.topic}[{lost.partition}], offsets {lost.first} to {lost.end - 1}"
            warn(f"a gap: {where} were gone before they were read")

    options = ExportOptions(out, key, follow, part_s=every / 1000, keep_days=keep_days)
    try:
        run_export(environment, options, tell)
    except KeyboardInterrupt:
        warn("ended: what no part has yet is read again at the next start")


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("name")
@option("--out", "The table to write, Parquet.", FILE, required=True)
@option("--record", "Write gaps, overlap and changes to this file.", FILE)
@option("--experiment", "Write the experiment's setting to this file.", FILE)
@answers
def join(
    *,
    folder: Path,
    name: str,
    out: Path,
    record: Path | None,
    experiment: Path | None,
) -> Answer:
    """Join an export to one row a user, for `analyse`.

    DIR is the folder of the export, NAME the experiment.

    A repeated event, the same event_id, else user, post, kind and day, counts once. A window is
    complete an hour after its end, if the experiment ran so long. The same export gives the same
    bytes.

    \b
    feedmill experiments join DIR fresher --out users.parquet --record record.json \\
        --experiment fresher.json
    feedmill experiments analyse users.parquet --experiment fresher.json --record record.json
    """  # noqa: D301 - click's mark of lines that stay as they are
    found, known, setting = _join_to(folder, name, out)
    if record is not None:
        record.write_bytes(msgspec.json.encode(known))
    if experiment is not None:
        experiment.write_bytes(msgspec.json.encode(setting))
    for gap in known.gaps or ():
        warn(f"a gap: {gap.what}")
    text = (
        f"{out}: {found.users:,} users, {found.complete:,} with a complete window,"
        f" {found.mismatched:,} with another arm than the assignment gives"
    )
    return Answer({**msgspec.to_builtins(found), "gaps": len(known.gaps or ())}, [text])


def _join_to(
    folder: Path, name: str, out: Path
) -> tuple[JoinedUsers, ExperimentRecord, Experiment]:
    """Join an export to a table; return what was found, its record, and the setting."""
    from feedmill.experiments.export_folder import open_export
    from feedmill.experiments.join import join as run_join
    from feedmill.operations.experiments.export import ExportedSettings, record_of, to_join

    kept = open_export(folder)
    # An exporter waits meanwhile, which merges parts else.
    with kept.locked():
        settings = ExportedSettings(kept, read_environment().signals)
        run = settings.run(name)
        found = run_join(kept, to_join(run), out)
        return found, record_of(kept, settings, run, found), run.experiment


def result_of(folder: Path, name: str, table: Path) -> Report:
    """Join an export to a table, and analyse that; `UsageError` where nobody was exposed."""
    from feedmill.experiments.report import report_of
    from feedmill.experiments.table import read_table

    _, record, setting = _join_to(folder, name, table)
    return report_of(name, read_table(table, setting), setting, record)


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("user")
@option("--key", "The key of the export, if it was given.", FILE)
@answers
def forget(*, folder: Path, user: str, key: Path | None) -> Answer:
    """Remove the rows of a user from an export.

    DIR is its folder, USER the id as in events. It may run beside the exporter. Tables that were
    joined before, and Kafka for eight days, still have the user.
    """
    from feedmill.experiments.export_folder import (
        KeyedHash,
        key_of,
        open_export,
        remember_forgotten,
    )
    from feedmill.experiments.export_folder import forget as remove

    kept = open_export(folder)
    hashed = KeyedHash(key_of(folder, key)).user(user)
    with kept.locked():
        remember_forgotten(kept, hashed, now_ms())
        removed = remove(kept, hashed)
    return Answer({"removed": removed}, [f"{removed:,} rows removed"])


def exported_part(environment: Environment, folder: Path, run: ExperimentRun) -> dict[str, Any]:
    """Return what an export has of an experiment, for `status`; `UsageError` where there is none.

    `waiting` is how many exposures and engagements Kafka has that it has not; `users` is missing
    where nobody was exposed.
    """
    from feedmill.experiments.export_folder import open_export
    from feedmill.experiments.join import exposed_users
    from feedmill.experiments.report import MIN_DAYS
    from feedmill.operations.experiments.export import (
        WHOLE_LOGS,
        ExportedSettings,
        record_of,
        to_join,
    )

    kept = open_export(folder)
    last = kept.parts[-1]
    found: dict[str, Any] = {"through_ms": last.through_ms}
    read = {topic: last.offsets.get(topic, {}) for topic in WHOLE_LOGS}
    found["waiting"] = records_after(environment, read)
    found["rejected"] = sum(part.rejected_count for part in kept.parts)
    try:
        users = exposed_users(kept, to_join(run))
    except UsageError:
        return found
    record = record_of(kept, ExportedSettings(kept, environment.signals), run, users)
    found |= msgspec.to_builtins(users)
    found["planned_n"], least = run.experiment.planned_n, min(users.by_arm.values())
    took_ms = last.through_ms - users.first_ms
    left_ms = max(0, run.experiment.planned_n - least) * took_ms / least
    left_ms = max(left_ms, MIN_DAYS * 86_400_000 - took_ms)
    found["days_to_go"] = (left_ms + run.experiment.window_hours * 3_600_000) / 86_400_000
    return {**found, "gaps": [gap.what for gap in record.gaps or ()], "overlap": record.overlap}


def exported_lines(found: dict[str, Any], at_ms: int) -> Iterator[str]:
    """Yield that as lines for people."""
    behind_ms, waiting = max(0, at_ms - found["through_ms"]), found["waiting"]
    upto = f"up to {duration_text(behind_ms)} ago" if found["through_ms"] else "nothing yet"
    behind = f"exported {upto}, {waiting:,} records wait"
    if waiting and behind_ms > _BEHIND_MS:
        behind += " (does `feedmill experiments export --follow` run? Kafka keeps them eight days)"
    if "users" not in found:
        yield f"{behind}: nobody was exposed"
        return
    arms = ", ".join(f"{arm} {users:,}" for arm, users in found["by_arm"].items())
    least, days = min(found["by_arm"].values()), math.ceil(found["days_to_go"])
    yield (
        f"{least:,} of {found['planned_n']:,} users in the smallest arm, {days:,} days to go"
        " at this rate"
    )
    yield (
        f"{behind}: {found['users']:,} users ({arms}), {found['complete']:,} with a complete"
        f" window, {found['mismatched']:,} with another arm than the assignment gives"
    )
    for arm, share in found["overlap"].items():
        yield f"- {arm} has {share:.0%} of the control's top ten"
    for arm, share in found["other_lists"].items():
        if share:
            yield f"- {share:.1%} of the pages of {arm} showed another list"
    yield from (f"- a gap: {gap}" for gap in found["gaps"])
    if found["rejected"]:
        yield f"- {found['rejected']:,} exposures were rejected"
