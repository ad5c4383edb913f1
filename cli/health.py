"""`feedmill health`: the engine on one screen, what is wrong on top."""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from feedmill.cli import flag
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, on_terminal, plain_table, print_json
from feedmill.events.instance import LegTimes
from feedmill.operations.status.finding import Finding
from feedmill.operations.status.health import Health, RunningWorker, health_of
from feedmill.operations.status.installation import Installation
from feedmill.operations.times import time_text
from feedmill.streams.environment import Environment
from feedmill.streams.flow import COMBINER, RANKER
from feedmill.streams.settings.clock import now_ms

_EVERY_S = 2.0
_COLUMNS = (
    *("instance", "role", "stages", "partitions>", "shards>"),
    *("state", "lag>", "MiB>", "seen>"),
)
_ALL_STAGES = 6
# What `--json` prints of a finding, and of a worker and its heartbeat.
_FIELDS = ("topic", "partitions", "instance", "way_out")
_OF_INSTANCE = ("instance", "host", "pid", "build", "group", "ready", "reason", "lag", "memory_mib")
_OF_WORKER = ("role", "stages", "partitions", "shards", "logs_lag", "age_ms")
# As the screen calls them: short names for a line of 80 characters.
_SHORT = {
    "append_to_fetch": "fetch",
    "create_to_fetch": "fetch",
    "fetch_to_judged": "judge",
    "judged_to_ranked": "rank",
    "ranked_to_redis": "write",
    "append_to_redis": "in all",
    "create_to_redis": "in all",
}


@click.command("health")
@json_option
@flag("--watch", "Show it every 2 s, until Ctrl-C.", "watching")
@with_environment
def health(environment: Environment, watching: bool, as_json: bool) -> None:
    """Show whether the engine is well: what is wrong first, each with its way out.

    Below stand the instances that run, the legs of the last minute (median and 99th percentile
    where they take longest), and the feeds.

    Exits with 1 if something is wrong; what is only to be looked at leaves it 0.
    """
    is_well = True
    looks = _looks(environment)
    with suppress(KeyboardInterrupt):
        if watching and on_terminal() and not as_json:
            with Live(console=Console(), auto_refresh=False) as screen:
                for found in looks:
                    is_well = found.is_well
                    screen.update(Text(health_text(found)), refresh=True)
        else:
            for found in looks:
                is_well = found.is_well
                print_json(health_json(found)) if as_json else click.echo(health_text(found))
                if not watching:
                    break
    looks.close()
    if not is_well:
        click.get_current_context().exit(1)


def _looks(environment: Environment) -> Generator[Health]:
    while True:
        with closing(Installation(environment, os.environ, now_ms)) as inst:
            while True:
                yield health_of(inst)
                time.sleep(_EVERY_S)
                if not inst.forget():
                    break


def health_json(found: Health) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "healthy": found.is_well,
        "at_ms": found.at_ms,
        "findings": [
            {
                "severity": "wrong" if one.is_stale else "warn",
                "what": f"{one.where}: {one.what}",
                **{name: getattr(one, name) for name in _FIELDS},
            }
            for one in found.findings
        ],
        "workers": [
            {
                **{name: getattr(worker.one, name) for name in _OF_INSTANCE},
                **{name: getattr(worker, name) for name in _OF_WORKER},
            }
            for worker in found.workers
        ],
        "legs": msgspec.to_builtins(found.legs),
        "feeds": found.feeds,
        "redis_mib": found.redis_mib,
    }


def health_text(found: Health) -> str:
    """The screen: findings, instances, legs and feeds."""
    wrong = sum(one.is_stale for one in found.findings)
    title = f"{wrong} wrong" if wrong else "healthy"
    if rest := len(found.findings) - wrong:
        title += f", {rest} to look at"
    lines = [f"feedmill: {title}  {time_text(found.at_ms)}", ""]
    for one in found.findings:
        lines += _finding_lines(one)
    if found.findings:
        lines.append("")
    if found.workers:
        lines += [plain_table(_COLUMNS, [_row(worker) for worker in found.workers]), ""]
    if found.legs:
        lines += ["p50/p99 ms of the last minute"]
        lines += [_legs_line(topic, legs) for topic, legs in found.legs.items()]
    states = ", ".join(f"{count} {state}" for state, count in found.feeds.items())
    memory = "" if found.redis_mib is None else f"   redis   {found.redis_mib} MiB"
    return "\n".join([*lines, f"feeds   {states}{memory}"])


def _finding_lines(one: Finding) -> list[str]:
    mark = "WRONG  " if one.is_stale else "look   "
    wrapper = textwrap.TextWrapper(
        max(40, shutil.get_terminal_size().columns),
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = wrapper.wrap(f"{one.where}: {one.what}")
    wrapper.initial_indent, wrapper.subsequent_indent = " " * 7 + "-> ", " " * 10
    return lines + wrapper.wrap(one.way_out)


def _row(worker: RunningWorker) -> tuple[str, ...]:
    one = worker.one
    is_all = len({*worker.stages, COMBINER}) == _ALL_STAGES
    stages = "all" if is_all else " ".join(worker.stages)
    judges = worker.role not in ("", RANKER)
    partitions = str(worker.partitions) if judges else ""
    shards = str(len(worker.shards)) if COMBINER in worker.stages else ""
    memory = "" if one.memory_mib is None else str(one.memory_mib)
    state = "ready" if one.ready else "not ready"
    seen = f"{worker.age_ms / 1000:.0f} s"
    lag = f"{one.lag + worker.logs_lag:,}"
    return one.instance, worker.role, stages, partitions, shards, state, lag, memory, seen


def _legs_line(topic: str, legs: dict[str, LegTimes]) -> str:
    rate = max(times.per_second for times in legs.values())
    parts = [f"{_SHORT[leg]} {times.p50_ms:.0f}/{times.p99_ms:.0f}" for leg, times in legs.items()]
    name = "engag." if topic == "engagements" else topic
    return f"{name:<7} {rate:.1f}/s  {'  '.join(parts)}"
