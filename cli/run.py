"""`feedmill run`: the whole engine on this machine, its feed on the screen."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from feedmill.cli.local import tell_progress
from feedmill.cli.options import with_environment
from feedmill.deploy.local import default_folder, down, status, up
from feedmill.deploy.supervisor import Supervisor, stop_on_signals
from feedmill.streams.kafka.topics import create
from feedmill.streams.settings.environment import (
    Environment,
    environment_variables,
    read_environment,
)
from feedmill.streams.stages.flow import stages_of

log = logging.getLogger(__name__)

READY_WITHIN_S = 60.0
TELL_EVERY_S = 10.0


@click.command()
@click.option("--demo", is_flag=True, help="Replay the simulated demo beside it.")
@click.option("--for", "seconds", type=float, default=0, help="End after so many seconds.")
@click.option("--feed", default="global", show_default=True, help="The feed to show.")
@click.option("--top", default=15, show_default=True, help="How much of it.")
@click.option("--partitions", default=4, show_default=True, help="Of the topics, if new.")
@click.option("--scale", multiple=True, metavar="STAGE=N", help="Several instances of a stage.")
@with_environment
def run(
    environment: Environment,
    demo: bool,
    seconds: float,
    feed: str,
    top: int,
    partitions: int,
    scale: Sequence[str],
) -> None:
    """Run every stage under one supervisor and show a feed.

    On the local stack, which it starts if it is down, unless Kafka and Redis are given.
    """
    stages = _stages(scale, stages_of(environment.signals))
    folder = default_folder()
    own_stack = not _given(environment) and not status(folder).running
    if not _given(environment):
        click.echo("starting the local Kafka and Redis …" if own_stack else "on the local stack")
        tell_progress()
        address = up(folder)
        overrides = {"FEEDMILL_KAFKA": address.kafka, "FEEDMILL_REDIS": address.redis}
        environment = read_environment(
            {**os.environ, **environment_variables(environment), **overrides}
        )
    try:
        create(
            environment.kafka,
            environment.topic_prefix,
            partitions,
            environment.signals.all,
            client=environment.security,
        )
        shown = ["feed", feed, "--follow", "--top", str(top)]
        # Another seed each time: a second run brings posts of its own.
        extra = ["replay", "demo", "--for", "0", "--seed", str(os.getpid())] if demo else []
        asyncio.run(_run(environment, stages, shown, extra, seconds))
    finally:
        if own_stack:
            click.echo("stopping the local Kafka and Redis …")
            down(folder)


def _given(environment: Environment) -> bool:
    """Whether the user named a Kafka or a Redis, in the environment or by flags."""
    default = Environment()
    return (environment.kafka, environment.redis) != (default.kafka, default.redis)


def _stages(scale: Sequence[str], stages: Sequence[str]) -> list[str]:
    counts = dict.fromkeys(stages, 1)
    for item in scale:
        name, _, number = item.partition("=")
        if name not in counts or not number.isdecimal() or not 1 <= int(number) <= 64:
            raise click.BadParameter(
                f"expected STAGE=N with a stage of {', '.join(stages)} and N from 1 to 64,"
                f" got {item!r}"
            )
        counts[name] = int(number)
    return [name for name, count in counts.items() for _ in range(count)]


async def _run(
    environment: Environment,
    stages: Sequence[str],
    shown: Sequence[str],
    replay: Sequence[str],
    seconds: float,
) -> None:
    logs = default_folder().parent / "logs"
    _log_to(logs)
    supervisor = Supervisor(environment, stages, logs)
    stop_on_signals(supervisor.stopping)
    supervising = asyncio.ensure_future(supervisor.run())
    beside: list[asyncio.subprocess.Process] = []
    try:
        await until_ready(supervisor, supervising)
        _greet(environment, supervisor)
        with (logs / "replay.log").open("ab") as replay_log:
            if replay:
                beside.append(await _command(environment, replay, replay_log.fileno()))
        beside.append(await _command(environment, shown, None))
        await _wait(supervisor, supervising, seconds)
    finally:
        for process in beside:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        supervisor.stopping.set()
        await supervising
        for process in beside:
            await _end(process)


async def until_ready(
    supervisor: Supervisor,
    supervising: asyncio.Future[None],
    within_s: float = READY_WITHIN_S,
    tell_every_s: float = TELL_EVERY_S,
) -> None:
    """Return when every stage is ready, or after a while without those that are not.

    Says which stages it waits for, and which it goes on without.  Raises what ended the
    supervisor.
    """
    ready = asyncio.ensure_future(supervisor.wait_ready())
    end = time.monotonic() + within_s
    while not await _first_of((ready, supervising), tell_every_s):
        late = supervisor.ready_reason()
        if time.monotonic() >= end:
            click.echo(f"not ready after {within_s:.0f} s, going on without {late}", err=True)
            break
        click.echo(f"waiting for {late}", err=True)
    ready.cancel()
    if supervising.done():
        supervising.result()


async def _wait(supervisor: Supervisor, supervising: asyncio.Future[None], seconds: float) -> None:
    stop = asyncio.ensure_future(supervisor.stopping.wait())
    await _first_of((stop, supervising), seconds or None)
    stop.cancel()


async def _first_of(waited: Sequence[asyncio.Future[Any]], seconds: float | None) -> bool:
    """Wait until one of these is done; whether one is."""
    done, _ = await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), 10)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _command(
    environment: Environment, arguments: Sequence[str], output: int | None
) -> asyncio.subprocess.Process:
    """Start another command of feedmill against the same servers."""
    env: Mapping[str, str] = {**os.environ, **environment_variables(environment)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "feedmill.cli.main",
        *arguments,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


def _greet(environment: Environment, supervisor: Supervisor) -> None:
    command = "feedmill" if "feedmill" in Path(sys.argv[0]).name else sys.argv[0]
    beside = Path(sys.executable).parent / "feedmill"
    if beside.exists():
        command = os.path.relpath(beside)
    click.echo(f"Kafka {environment.kafka}  Redis {_without_password(environment.redis)}")
    if supervisor.web.port:
        click.echo(f"metrics on http://{environment.host}:{supervisor.web.port}/metrics")
    click.echo("\nIn another terminal, let engagement count for more than quality:\n")
    click.echo(f"    {command} config set weights alpha=0.1 beta=0.9\n")


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _log_to(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=folder / "supervisor.log",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    click.echo(f"logs in {os.path.relpath(folder)}/")
