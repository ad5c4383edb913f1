"""`feedmill experiments list|status`: which run, and what readers of their arms have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from feedmill.cli import FOLDER, option
from feedmill.cli.experiments.exports import exported_lines, exported_part, result_of
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, Table, short_json, show, table_of
from feedmill.events.errors import UsageError
from feedmill.events.experiment import WHOLE, Arm
from feedmill.operations.experiments.runs import (
    ExperimentRun,
    changes_during,
    releases_during,
    run_of,
    runs_of,
)
from feedmill.operations.setting_changes import read_settings_log
from feedmill.operations.times import duration_text, time_text
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.clock import now_ms

_SHOWN_COLUMNS = ("feed", "arm", "posts>", "version>", "written>", "state")


@click.command("list")
@option("--data DIR", "Say what came of each, by this export.", FOLDER)
@asks_installation
def list_command(environment: Environment, data: Path | None) -> Answer:
    """List all experiments that were started, the oldest first, with --data also their results."""
    at_ms = now_ms()
    runs = runs_of(read_settings_log(environment))
    results = {} if data is None else {run.name: _result(data, run.name) for run in runs}
    rows = [run.as_dict(at_ms) for run in runs]
    for row, result in zip(rows, results.values(), strict=False):
        row["result"] = result
    said = [f"- {name}: {result}" for name, result in results.items()]
    return show(rows, _LIST_COLUMNS, after=said, empty="no experiment was started")


_LIST_COLUMNS: Columns = {
    "name": "name",
    "state": lambda run: "running" if run["running"] else "stopped",
    "feeds": "feeds",
    "traffic>": lambda run: _traffic(run["traffic"]),
    "arms": lambda run: ", ".join(run["arms"]),
    "started": "started_ms:time",
    "ran>": "ran_ms:span",
    "by": "by",
}


def _result(data: Path, name: str) -> str:
    """What came of an experiment by an export, or why that is not known."""
    with TemporaryDirectory() as folder:
        try:
            return result_of(data, name, Path(folder) / "users.parquet").conclusion
        except UsageError as error:
            return str(error)


@click.command()
@click.argument("name")
@option("--data DIR", "Show also what this export has of it.", FOLDER)
@asks_installation
def status(environment: Environment, name: str, data: Path | None) -> Answer:
    """Show the experiment NAME: its arms, the lists that Redis has, and what changed meanwhile.

    Changes are those of weights, gates, rules, match and models that the control had since. An arm
    has them too where it does not differ.
    """
    log = read_settings_log(environment)
    run, at_ms = run_of(log, name), now_ms()
    reader = open_feed_reader(environment.redis, environment.redis_prefix)
    lists = [*_lists(reader, run, at_ms)]
    released = releases_during(read_all(environment, "models"), run)
    changes = [*changes_during(log, run), *released]
    content: dict[str, Any] = {**run.as_dict(at_ms)}
    content |= {"lists": [one for one, _ in lists], "changes": changes}
    end = ["how many users it has, and how long it takes: --data <folder of the export>"]
    if data is not None:
        content["export"] = exported_part(environment, data, run)
        end = [*exported_lines(content["export"], at_ms)]
    meanwhile = ["\nchanged for the control meanwhile:", *(f"- {one}" for one in changes)]
    lines = (
        f"{_heading(run, at_ms)}\n",
        table_of(run.experiment.arms, _ARM_COLUMNS),
        "",
        Table(_SHOWN_COLUMNS, [row for _, row in lists]),
        *(meanwhile if changes else ()),
        "",
        *end,
    )
    return Answer(content, lines)


def _lists(
    reader: FeedReader, run: ExperimentRun, at_ms: int
) -> Iterator[tuple[dict[str, object], tuple[str, ...]]]:
    """Yield the lists of all arms as Redis has them, for JSON and as rows of the table.

    That of the first arm is the feed itself.
    """
    for feed in run.experiment.feeds:
        for place, arm in enumerate(run.experiment.arms):
            is_expected = not place or run.stopped is None
            snapshot = reader.feed(feed, 1, f"{run.name}.{arm.name}" if place else "")
            found = {"feed": feed, "arm": arm.name, "there": snapshot is not None}
            if snapshot is None:
                state = "missing: its readers get the control" if is_expected else "gone"
                yield found, (feed, arm.name, "", "", "", state)
                continue
            size, state = snapshot.info.get("size", ""), snapshot.state(at_ms)
            written_ms = int(snapshot.info.get("written_at_ms", "0"))
            yield (
                {
                    **found,
                    "posts": int(size or "0"),
                    "version": snapshot.version,
                    "written_at_ms": written_ms,
                    "state": state,
                },
                (
                    *(feed, arm.name, size, str(snapshot.version)),
                    f"{duration_text(at_ms - written_ms)} ago",
                    state if is_expected else "still there",
                ),
            )


def _heading(run: ExperimentRun, at_ms: int) -> str:
    ran = duration_text(run.ran_ms(at_ms))
    since = f"for {ran}, since {time_text(run.started.at_ms)}"
    state = f"runs {since}" if run.stopped is None else f"stopped; it ran {since}"
    by = f" by {run.started.by}" if run.started.by else ""
    wanted = run.experiment
    return (
        f"{run.name} {state}{by}; offset {run.entries[-1].offset}\n"
        f"feeds {', '.join(wanted.feeds)}; {_traffic(wanted.traffic)} of readers; {wanted.primary}"
        f" decides, {wanted.planned_n:,} users an arm with {wanted.window_hours:.3g} h each are"
        " planned"
    )


def _difference(arm: Arm) -> str:
    differences = {name: value for name in ("weights", "gates") if (value := getattr(arm, name))}
    copy = "a copy of the control" if arm.control_copy else ""
    return short_json(differences) if differences else copy


def _traffic(ten_thousandths: int) -> str:
    return f"{ten_thousandths * 100 / WHOLE:g} %"


_ARM_COLUMNS: Columns = {
    "arm": "name",
    "share>": lambda arm: _traffic(arm.share),
    "differs by": _difference,
}
