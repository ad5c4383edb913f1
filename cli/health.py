"""`feedmill health`: the engine on one screen, what is wrong on top."""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, on_terminal, plain_table, print_json, time_text
from feedmill.events.instance import LegTimes
from feedmill.operations.health.findings import Finding
from feedmill.operations.health.reading import HealthReader
from feedmill.operations.health.summary import Health, RunningWorker, health_of
from feedmill.streams.environment import Environment
from feedmill.streams.flow import COMBINER, RANKER

_EVERY_S = 2.0
_COLUMNS = (
    *("instance", "role", "stages", "partitions>", "shards>"),
    *("state", "lag>", "MiB>", "seen>"),
)
_ALL_STAGES = 6
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
@click.option("--watch", "watching", is_flag=True, help="Show it every 2 s, until Ctrl-C.")
@with_environment
def health(environment: Environment, watching: bool, as_json: bool) -> None:
    """Show whether the engine is well: what is wrong first, each with its way out.

    Below stand the instances that run, the legs of the last minute (median and 99th percentile
    where they take longest), and the feeds.

    Exits with 1 if something is wrong; what is only to be looked at leaves it 0.
    """
    is_well = True
    with closing(HealthReader(environment)) as reader, suppress(KeyboardInterrupt):
        if watching and on_terminal() and not as_json:
            with Live(console=Console(), auto_refresh=False) as screen:
                for found in _looks(reader):
                    is_well = found.is_well
                    screen.update(Text(health_text(found)), refresh=True)
        else:
            for found in _looks(reader):
                is_well = found.is_well
                _print(found, as_json=as_json)
                if not watching:
                    break
    if not is_well:
        click.get_current_context().exit(1)


def _looks(reader: HealthReader) -> Iterator[Health]:
    while True:
        yield health_of(reader.read(), int(time.time() * 1000))
        time.sleep(_EVERY_S)


def _print(found: Health, *, as_json: bool) -> None:
    if as_json:
        print_json(found.as_dict())
    else:
        click.echo(health_text(found))


def health_text(found: Health) -> str:
    """The screen: findings, instances, legs and feeds."""
    wrong = [one for one in found.findings if one.severity == "wrong"]
    others = [one for one in found.findings if one.severity != "wrong"]
    title = f"{len(wrong)} wrong" if wrong else "healthy"
    if others:
        title += f", {len(others)} to look at"
    lines = [f"feedmill: {title}  {time_text(found.at_ms)}", ""]
    for one in (*wrong, *others):
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
    mark = "WRONG  " if one.severity == "wrong" else "look   "
    wrapper = textwrap.TextWrapper(
        max(40, shutil.get_terminal_size().columns),
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = wrapper.wrap(one.what)
    wrapper.initial_indent, wrapper.subsequent_indent = " " * 7 + "-> ", " " * 10
    return lines + wrapper.wrap(one.way_out)


def _row(worker: RunningWorker) -> tuple[str, ...]:
    one = worker.one
    is_all = len({*worker.stages, COMBINER}) == _ALL_STAGES
    stages = "all" if is_all else " ".join(worker.stages)
    judges = worker.role not in ("", RANKER)
    partitions = str(len({at.partition for at in one.partitions})) if judges else ""
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
