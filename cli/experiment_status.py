"""`feedmill experiments list|status`: which run, and what readers of their arms have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from feedmill.cli.duration import duration_text
from feedmill.cli.experiment_record import FOLDER, exported_part, exported_text, result_of
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table, short_json, time_text
from feedmill.cli.setting_change import read_settings_log
from feedmill.events.errors import UsageError
from feedmill.events.experiment import WHOLE, Arm
from feedmill.operations.experiments.runs import (
    ExperimentRun,
    changes_during,
    releases_during,
    run_of,
    runs_of,
)
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.redis.reader import FeedReader, FeedSnapshot, open_feed_reader
from feedmill.streams.settings.clock import now_ms

_LIST_COLUMNS = ("name", "state", "feeds", "traffic>", "arms", "started", "ran>", "by")
_ARM_COLUMNS = ("arm", "share>", "differs by")
_SHOWN_COLUMNS = ("feed", "arm", "posts>", "version>", "written>", "state")


@click.command("list")
@click.option("--data", type=FOLDER, metavar="DIR", help="Say what came of each, by this export.")
@json_option
@with_environment
def list_command(environment: Environment, data: Path | None, as_json: bool) -> None:
    """List all experiments that were started, the oldest first, with --data also their results."""
    at_ms = now_ms()
    runs = runs_of(read_settings_log(environment))
    results = {} if data is None else {run.name: _result(data, run.name) for run in runs}
    if as_json:
        of_export = [{"result": result} for result in results.values()] or [{}] * len(runs)
        print_json([{**run.as_dict(at_ms), **of} for run, of in zip(runs, of_export, strict=True)])
    elif not runs:
        click.echo("no experiment was started")
    else:
        print_table(_LIST_COLUMNS, [_row(run, at_ms) for run in runs])
        for name, result in results.items():
            click.echo(f"- {name}: {result}")


def _result(data: Path, name: str) -> str:
    """What came of an experiment by an export, or why that is not known."""
    with TemporaryDirectory() as folder:
        try:
            return result_of(data, name, Path(folder) / "users.parquet").conclusion
        except UsageError as error:
            return str(error)


@click.command()
@click.argument("name")
@click.option("--data", type=FOLDER, metavar="DIR", help="Show also what this export has of it.")
@json_option
@with_environment
def status(environment: Environment, name: str, data: Path | None, as_json: bool) -> None:
    """Show the experiment NAME: its arms, the lists that Redis has, and what changed meanwhile.

    Changes are those of weights, gates, rules, match and models that the control had since. An arm
    has them too where it does not differ.
    """
    log = read_settings_log(environment)
    run, at_ms = run_of(log, name), now_ms()
    reader = open_feed_reader(environment.redis, environment.redis_prefix)
    lists = list(_lists(reader, run))
    released = releases_during(read_all(environment, "models"), run)
    changes = [*changes_during(log, run), *released]
    exported = None if data is None else exported_part(environment, data, run)
    if as_json:
        print_json(
            {
                **run.as_dict(at_ms),
                "lists": [one.as_dict(at_ms) for one in lists],
                "changes": [asdict(one) for one in changes],
                **({} if exported is None else {"export": exported}),
            }
        )
        return
    click.echo(f"{_heading(run, at_ms)}\n")
    print_table(_ARM_COLUMNS, [_arm_row(arm) for arm in run.experiment.arms])
    click.echo()
    print_table(_SHOWN_COLUMNS, [one.row(at_ms) for one in lists])
    if changes:
        click.echo("\nchanged for the control meanwhile:")
    for one in changes:
        click.echo(f"- {one}")
    if exported is not None:
        click.echo(f"\n{exported_text(exported, at_ms)}")
    else:
        click.echo("\nhow many users it has, and how long it takes: --data <folder of the export>")


@dataclass(frozen=True)
class _ShownList:
    """The list of an arm as Redis has it; the first arm's is the feed itself."""

    feed: str
    arm: str
    is_expected: bool
    snapshot: FeedSnapshot | None

    def row(self, at_ms: int) -> tuple[str, ...]:
        if self.snapshot is None:
            state = "missing: its readers get the control" if self.is_expected else "gone"
            return (self.feed, self.arm, "", "", "", state)
        return (
            self.feed,
            self.arm,
            self.snapshot.info.get("size", ""),
            str(self.snapshot.version),
            f"{duration_text(at_ms - self._written_ms)} ago",
            self.snapshot.state(at_ms) if self.is_expected else "still there",
        )

    def as_dict(self, at_ms: int) -> dict[str, Any]:
        found: dict[str, Any] = {"feed": self.feed, "arm": self.arm, "there": bool(self.snapshot)}
        if self.snapshot is not None:
            found |= {
                "posts": int(self.snapshot.info.get("size", "0")),
                "version": self.snapshot.version,
                "written_at_ms": self._written_ms,
                "state": self.snapshot.state(at_ms),
            }
        return found

    @property
    def _written_ms(self) -> int:
        return 0 if self.snapshot is None else int(self.snapshot.info.get("written_at_ms", "0"))


def _lists(reader: FeedReader, run: ExperimentRun) -> Iterator[_ShownList]:
    for feed in run.experiment.feeds:
        for place, arm in enumerate(run.experiment.arms):
            of_arm = f"{run.name}.{arm.name}" if place else ""
            snapshot = reader.feed(feed, 1, of_arm)
            yield _ShownList(feed, arm.name, not place or run.stopped is None, snapshot)


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


def _row(run: ExperimentRun, at_ms: int) -> tuple[str, ...]:
    return (
        run.name,
        "running" if run.stopped is None else "stopped",
        ", ".join(run.experiment.feeds),
        _traffic(run.experiment.traffic),
        ", ".join(arm.name for arm in run.experiment.arms),
        time_text(run.started.at_ms),
        duration_text(run.ran_ms(at_ms)),
        run.started.by or "",
    )


def _arm_row(arm: Arm) -> tuple[str, ...]:
    differences = {name: value for name in ("weights", "gates") if (value := getattr(arm, name))}
    copy = "a copy of the control" if arm.control_copy else ""
    return (arm.name, _traffic(arm.share), short_json(differences) if differences else copy)


def _traffic(ten_thousandths: int) -> str:
    return f"{ten_thousandths * 100 / WHOLE:g} %"
