"""What the commands share: where Kafka and Redis are, and how a failure ends a command."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import IO, Any, TypeVar

import aiokafka.errors
import click
import redis

from feedmill.events.errors import FeedmillError
from feedmill.streams.settings.environment import Environment, read_environment

Command = TypeVar("Command", bound=Callable[..., Any])

_FLAGS = {
    "kafka": "FEEDMILL_KAFKA",
    "redis_url": "FEEDMILL_REDIS",
    "topic_prefix": "FEEDMILL_TOPIC_PREFIX",
    "redis_prefix": "FEEDMILL_REDIS_PREFIX",
}


class Failed(click.ClickException):
    """A command that failed: its reason on stderr, exit 1."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"feedmill: {self.message}", file=file or sys.stderr)


def with_environment(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--kafka`, `--redis`, `--prefix` and `--redis-prefix` over the environment.

    The command gets the outcome as its keyword `environment`; see `reporting` for
    how it may fail.
    """

    @click.option("--kafka", metavar="HOST:PORT", help="Kafka [FEEDMILL_KAFKA]")
    @click.option("--redis", "redis_url", metavar="URL", help="Redis [FEEDMILL_REDIS]")
    @click.option("--prefix", "topic_prefix", help="before topics [FEEDMILL_TOPIC_PREFIX]")
    @click.option("--redis-prefix", help="before Redis keys [FEEDMILL_REDIS_PREFIX]")
    @functools.wraps(command)
    @reporting
    def wrapped(*args: object, **options: Any) -> Any:
        flags = {name: options.pop(name) for name in _FLAGS}
        return command(*args, environment=_over_environment(flags), **options)

    return wrapped


def reporting(command: Command) -> Command:
    """Turn what may go wrong into one line on stderr and exit 1."""

    @functools.wraps(command)
    def wrapped(*args: object, **options: object) -> object:
        # The clients' own log lines would stand beside the reason that is given here.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        try:
            return command(*args, **options)
        except FeedmillError as error:
            raise Failed(str(error)) from error
        except aiokafka.errors.KafkaError as error:
            raise Failed(f"Kafka: {error}; is it up? `feedmill local status`") from error
        except redis.RedisError as error:
            raise Failed(f"Redis: {error}; is it up? `feedmill local status`") from error

    return wrapped  # type: ignore[return-value]  # of click


def _over_environment(flags: dict[str, str | None]) -> Environment:
    given = {_FLAGS[name]: value for name, value in flags.items() if value is not None}
    return read_environment({**os.environ, **given})
