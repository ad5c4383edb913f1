"""`feedmill local up|down|status`: Kafka and Redis on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from feedmill.cli import FOLDER, PORT, option
from feedmill.cli.output import Answer, answers, print_local_stack_log
from feedmill.deploy.local import LocalStackError, StackStatus, default_folder, down, status, up

_folder_option = option(
    "--folder",
    "The folder of the stack's data, logs and process ids.",
    FOLDER,
    default_folder,
    show_default="$FEEDMILL_HOME/local, else .feedmill/local",
)


def _port_option(name: str, server: str) -> Callable[..., Any]:
    return click.option(
        name,
        type=PORT,
        default=0,
        show_default="the last one, else any free one",
        help=f"The port of {server}.",
    )


@click.group("local")
def local() -> None:
    """Run Kafka and Redis on this machine, for development and tests."""
    print_local_stack_log()


@local.command("up")
@_folder_option
@_port_option("--kafka-port", "Kafka, of its first broker")
@_port_option("--redis-port", "Redis")
@option(
    "--brokers",
    "How many brokers Kafka has; with 3 one may be killed.",
    click.Choice([1, 3]),
    show_default="those that the stack has, else 1",
)
@answers
def up_command(folder: Path, kafka_port: int, redis_port: int, brokers: int | None) -> Answer:
    """Start Kafka and Redis if they do not run; they run until `feedmill local down`."""
    up(folder, kafka_port=kafka_port, redis_port=redis_port, brokers=brokers or 0)
    return _shown(status(folder))


@local.command("down")
@_folder_option
def down_command(folder: Path) -> None:
    """Stop Kafka and Redis. Kafka's data are kept, Redis' are not."""
    down(folder)


@local.command("status")
@_folder_option
@answers
def status_command(folder: Path) -> Answer:
    """Show the addresses of Kafka and Redis; exit 1 if one of them does not run."""
    stack = status(folder)
    if stack.stopped:
        raise LocalStackError(_not_running_text(stack))
    return _shown(stack)


def _not_running_text(stack: StackStatus) -> str:
    verb = "do" if len(stack.stopped) > 1 else "does"
    return (
        f"{' and '.join(stack.stopped)} of the local stack in {stack.folder} {verb} not run;"
        " `feedmill local up` starts what is missing"
    )


def _shown(stack: StackStatus) -> Answer:
    content = {
        "kafka": stack.kafka,
        "redis": stack.redis,
        "folder": str(stack.folder),
        "kafka_pids": stack.kafka_pids,
        "redis_pid": stack.redis_pid,
    }
    brokers = zip(stack.kafka.split(","), stack.kafka_pids, strict=True)
    lines = [f"kafka  {address}  (pid {pid})" for address, pid in brokers]
    return Answer(content, [*lines, f"redis  {stack.redis}  (pid {stack.redis_pid})"])
