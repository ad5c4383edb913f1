"""`feedmill run`: the whole engine on this machine, with a feed on the screen."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import click

from feedmill.cli import flag, option
from feedmill.cli.options import installation_flags, own_command, with_given_environment
from feedmill.cli.output import print_local_stack_log, say, warn
from feedmill.cli.worker import isolate_option, without_option
from feedmill.deploy.local import default_folder, down, status, up
from feedmill.deploy.supervisor import (
    Supervisor,
    WorkerSpec,
    by_role,
    isolated,
    readers,
    stop_on_signals,
)
from feedmill.simulation.demo import demo_experiment
from feedmill.simulation.replay.run import run_tag
from feedmill.streams.environment import Environment, environment_variables, read_environment
from feedmill.streams.flow import COMBINER, WHOLE, chosen_stages
from feedmill.streams.kafka.topic_table import DEFAULT_PARTITIONS
from feedmill.streams.kafka.topics import create

_READY_WITHIN_S = 60.0
_REPORT_EVERY_S = 10.0
_STOP_COMMAND_S = 10.0
_MOST_INSTANCES = 64
_FEEDMILL = (sys.executable, "-m", "feedmill.cli.main")


@click.command()
@flag("--demo", "Also replay the simulated demo.")
@flag("--experiment", "With --demo: run an experiment on `global`, whose lists the audience reads.")
@option("--for SECONDS", "End after so long.  [at Ctrl-C]", float, 0, name="duration_s")
@option("--feed", "The feed to show.", default="global")
@option("--top N", "How many posts of it.", default=15)
@option(
    "--partitions N",
    "Number of partitions of the topics, if they do not exist yet.",
    default=DEFAULT_PARTITIONS,
)
@without_option
@isolate_option
@option(
    "--scale NAME=N",
    "Run N workers instead of one: worker=2, or with --isolate spam=2; repeatable.",
    multiple=True,
)
@option(
    "--judges N",
    "Run N workers that judge posts and do not rank; with --rankers.",
    click.IntRange(1, _MOST_INSTANCES),
)
@option(
    "--rankers M",
    "Run M workers that rank feeds alone; with --judges.",
    click.IntRange(1, _MOST_INSTANCES),
)
@option(
    "--readers N",
    "Also run N readers, which serve pages for single users over HTTP, on"
    " FEEDMILL_READER_PORT and the ports after it.",
    click.IntRange(1, _MOST_INSTANCES),
    name="reader_count",
)
@with_given_environment
def run(
    environment: Environment,
    demo: bool,
    experiment: bool,
    duration_s: float,
    feed: str,
    top: int,
    partitions: int,
    without: Sequence[str],
    isolate: bool,
    scale: Sequence[str],
    judges: int | None,
    rankers: int | None,
    reader_count: int | None,
) -> None:
    """Run a worker with all stages under a supervisor, and show a feed.

    Runs on the Kafka and the Redis that are named by flags or variables, else on the local stack,
    which it starts and stops unless it runs already.
    """
    if experiment and not demo:
        raise click.UsageError("--experiment is an experiment on the demo's readers; give --demo")
    stages = chosen_stages(environment.signals, without=without)
    if judges is None and rankers is None:
        kinds = isolated(stages) if isolate else [WorkerSpec(WHOLE, stages)]
        workers = _scaled(scale, kinds)
    elif judges is None or rankers is None or isolate or scale or COMBINER in without:
        raise click.UsageError(
            "--judges and --rankers go together, and without --isolate, --scale and --without"
            f" {COMBINER}"
        )
    else:
        workers = by_role(stages, judges, rankers)
    workers += readers(reader_count or 0, environment.reader_port)
    flags = installation_flags(environment)
    folder = default_folder()
    servers = environment.kafka, environment.redis
    on_local_stack = servers == (Environment.kafka, Environment.redis)
    stop_at_end = on_local_stack and not status(folder).running
    if on_local_stack:
        say("starting the local Kafka and Redis …" if stop_at_end else "on the local stack")
        environment = _start_local_stack(environment, folder)
    try:
        create(
            environment.kafka,
            environment.topic_prefix,
            partitions,
            environment.signals.all,
            client=environment.security,
        )
        commands = _commands(feed, top, demo=demo, experiment=experiment)
        asyncio.run(_run_workers(environment, workers, commands, duration_s, flags))
    finally:
        if stop_at_end:
            say("stopping the local Kafka and Redis …")
            down(folder)
    if commands.result:
        subprocess.run([*_FEEDMILL, *commands.result], check=False)


class _Commands(NamedTuple):
    """Commands of feedmill: beside the workers, once before and after them, and when all ended.

    `with_console`: the console runs beside the workers, too.
    """

    beside: Sequence[Sequence[str]]
    before: Sequence[Sequence[str]] = ()
    after: Sequence[Sequence[str]] = ()
    result: Sequence[str] = ()
    with_console: bool = False


def _commands(feed: str, top: int, *, demo: bool, experiment: bool) -> _Commands:
    """Return what shows the feed and replays the demo; its experiment starts and stops with it."""
    beside = [["feed", feed, "--follow", "--top", str(top)]]
    if demo:
        # A seed of its own per run, so that a second run brings other posts.
        read = ["--read", "global", "--audience", "400"] if experiment else []
        beside.insert(0, ["replay", "demo", "--for", "0", "--seed", str(os.getpid()), *read])
    with_console = demo and find_spec("jinja2") is not None
    if not experiment:
        return _Commands(beside, with_console=with_console)
    name = f"demo-{run_tag()}"  # no name is used twice
    file = default_folder().parent / "experiments" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(demo_experiment(name), indent=2) + "\n", encoding="utf-8")
    start = ["experiments", "start", os.path.relpath(file), "--note", "the demo"]
    export = os.path.relpath(file.with_suffix(""))
    after = [["experiments", "export", "--out", export], ["experiments", "stop", name]]
    return _Commands(beside, [start], after, ["experiments", "demo", export, name], with_console)


def _start_local_stack(environment: Environment, folder: Path) -> Environment:
    print_local_stack_log()
    address = up(folder)
    servers = {"FEEDMILL_KAFKA": address.kafka, "FEEDMILL_REDIS": address.redis}
    return read_environment({**os.environ, **environment_variables(environment), **servers})


def _scaled(scale: Sequence[str], kinds: Sequence[WorkerSpec]) -> list[WorkerSpec]:
    """The workers to start, one of each kind unless `scale`, the values of `--scale`, says more."""
    counts = {kind.name: 1 for kind in kinds}
    for item in scale:
        name, _, number = item.partition("=")
        if name not in counts or not number.isdecimal() or not 1 <= int(number) <= _MOST_INSTANCES:
            raise click.BadParameter(
                f"expected NAME=N with a name of {', '.join(counts)} and N from 1 to"
                f" {_MOST_INSTANCES}, got {item!r}",
                param_hint="--scale",
            )
        counts[name] = int(number)
    return [kind for kind in kinds for _ in range(counts[kind.name])]


async def _run_workers(
    environment: Environment,
    workers: Sequence[WorkerSpec],
    commands: _Commands,
    duration_s: float,
    flags: str,
) -> None:
    """Run the workers, and these commands of feedmill once they are ready."""
    logs = default_folder().parent / "logs"
    _log_to_folder(logs)
    supervisor = Supervisor(environment, workers, logs)
    stop_on_signals(supervisor.stopping)
    supervising = asyncio.ensure_future(supervisor.run())
    processes: list[asyncio.subprocess.Process] = []
    try:
        await wait_until_ready(supervisor, supervising)
        _print_addresses(environment, supervisor, flags)
        if commands.with_console:
            processes.append(await _start_console(environment, logs))
        for arguments in commands.before:
            await (await _start_command(environment, arguments, logs)).wait()
        for arguments in commands.beside:
            process = await _start_command(environment, arguments, logs)
            processes.append(process)
        stop = asyncio.ensure_future(supervisor.stopping.wait())
        await _wait_for_first((stop, supervising), duration_s or None)
        stop.cancel()
        if commands.after:
            await _end_all(processes)
        for arguments in commands.after:
            await (await _start_command(environment, arguments, logs)).wait()
    finally:
        if supervisor.stopping.is_set() and processes:
            # A terminal's Ctrl-C reaches them, too; a second one would break off how they end.
            await asyncio.wait([asyncio.ensure_future(p.wait()) for p in processes], timeout=2)
        supervisor.stopping.set()
        await asyncio.gather(_end_all(processes), supervising)


async def wait_until_ready(
    supervisor: Supervisor,
    supervising: asyncio.Future[None],
    timeout_s: float = _READY_WITHIN_S,
    report_every_s: float = _REPORT_EVERY_S,
) -> None:
    """Return when every worker is ready, or after `timeout_s` without those that are not.

    Prints on stderr which workers it waits for. If `supervising`, the supervisor's own task,
    ends with an exception, it is raised.
    """
    ready = asyncio.ensure_future(supervisor.wait_ready())
    end = time.monotonic() + timeout_s
    while not await _wait_for_first((ready, supervising), report_every_s):
        reasons = supervisor.ready_reason()
        if time.monotonic() >= end:
            warn(f"not ready after {timeout_s:.0f} s, going on without {reasons}")
            break
        warn(f"waiting for {reasons}")
    ready.cancel()
    if supervising.done():
        supervising.result()


async def _wait_for_first(futures: Sequence[asyncio.Future[Any]], timeout_s: float | None) -> bool:
    """Wait until one of them is done; False if none was in time."""
    done, _ = await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _end_all(processes: Sequence[asyncio.subprocess.Process]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
    for process in processes:
        try:
            await asyncio.wait_for(process.wait(), _STOP_COMMAND_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _start_command(
    environment: Environment, arguments: Sequence[str], logs: Path
) -> asyncio.subprocess.Process:
    """Start `feedmill <arguments>` on the same servers; `replay` writes to its own log file."""
    with (logs / "replay.log").open("ab") as replay_log:
        output = replay_log if arguments[0] == "replay" else None
        return await asyncio.create_subprocess_exec(
            *_FEEDMILL,
            *arguments,
            env={**os.environ, **environment_variables(environment)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


async def _start_console(environment: Environment, logs: Path) -> asyncio.subprocess.Process:
    """Start the console on any free port, and print the link that signs in as operator."""
    with (logs / "console.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *_FEEDMILL,
            *("console", "--port", "0", "--link"),
            env={**os.environ, **environment_variables(environment)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    if process.stdout is not None:
        line = (await process.stdout.readline()).decode().strip()
        say(f"{line or 'the console ended: console.log beside the other logs says why'}\n")
    return process


def _print_addresses(environment: Environment, supervisor: Supervisor, flags: str) -> None:
    """Say where it runs, and a command that is about this installation, pasted elsewhere too."""
    say(f"Kafka {environment.kafka}  Redis {environment.redis_address}")
    if supervisor.web.port:
        say(f"metrics on http://{environment.host}:{supervisor.web.port}/metrics")
    for child in supervisor.children:
        if child.name.startswith("reader"):
            say(f"{child.name} on http://{environment.host}:{child.stages[0]}/v1/feeds/")
    say("\nIn another terminal, let engagement count for more than quality:\n")
    say(f"    {own_command()} config set weights alpha=0.1 beta=0.9{flags}\n")


def _log_to_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=folder / "supervisor.log",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    say(f"logs in {os.path.relpath(folder)}/")
