"""`feedmill local up|down|status`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from feedmill.deploy.local.errors import LocalStackError
from feedmill.deploy.local.stack import StackStatus, default_folder, down, status, up

Command = TypeVar("Command", bound=Callable[..., Any])

_folder = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_folder,
    show_default="$FEEDMILL_HOME/local, else .feedmill/local",
    help="where the stack keeps everything",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


def _port(option: str, server: str) -> Callable[[Command], Command]:
    return click.option(
        option,
        type=click.IntRange(0, 65_535),
        default=0,
        help=f"{server}'s port; 0: the last one, else any free one",
    )


@click.group("local")
def local() -> None:
    """Run Kafka and Redis on this machine, for development and tests."""
    tell_progress()


def tell_progress() -> None:
    """Have the stack say on stderr what it is doing: the first start fetches Kafka."""
    logger = logging.getLogger("feedmill.deploy.local")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


@local.command("up")
@_folder
@_port("--kafka-port", "Kafka")
@_port("--redis-port", "Redis")
@_as_json
def up_command(folder: Path, kafka_port: int, redis_port: int, as_json: bool) -> None:
    """Start Kafka and Redis, unless they run; they go on until `down`."""
    up(folder, kafka_port=kafka_port, redis_port=redis_port)
    _print(status(folder), as_json)


@local.command("down")
@_folder
def down_command(folder: Path) -> None:
    """Stop Kafka and Redis; what Kafka holds is kept."""
    down(folder)


@local.command("status")
@_folder
@_as_json
def status_command(folder: Path, as_json: bool) -> None:
    """Say where Kafka and Redis are; exit 1 if they do not run."""
    found = status(folder)
    if not found.running:
        raise LocalStackError(_why_not(found))
    _print(found, as_json)


def _why_not(found: StackStatus) -> str:
    running = {"Kafka": found.kafka_running, "Redis": found.redis_running}
    away = " and ".join(name for name, runs in running.items() if not runs)
    verb = "do" if not any(running.values()) else "does"
    return f"{away} of {found.folder} {verb} not run; `feedmill local up` starts what is missing"


def _print(found: StackStatus, as_json: bool) -> None:
    if as_json:
        shown = {
            "kafka": found.kafka,
            "redis": found.redis,
            "folder": str(found.folder),
            "kafka_pid": found.kafka_pid,
            "redis_pid": found.redis_pid,
        }
        click.echo(json.dumps(shown))
        return
    click.echo(f"kafka  {found.kafka}  (pid {found.kafka_pid})")
    click.echo(f"redis  {found.redis}  (pid {found.redis_pid})")
