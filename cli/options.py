"""Options that several commands have, and where a command finds Kafka and Redis."""

from __future__ import annotations

import functools
import getpass
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import kafka.errors
import redis

from feedmill.deploy.local import default_folder, status
from feedmill.events.errors import UsageError
from feedmill.models.store_files import Store, parse_store
from feedmill.streams.environment import Environment, read_environment

# The variable of each flag, and the flag of a variable as it is typed.
_VARIABLE_OF_FLAG = {
    "kafka": "FEEDMILL_KAFKA",
    "redis_url": "FEEDMILL_REDIS",
    "topic_prefix": "FEEDMILL_TOPIC_PREFIX",
    "redis_prefix": "FEEDMILL_REDIS_PREFIX",
}
_TYPED = {
    "FEEDMILL_KAFKA": "--kafka",
    "FEEDMILL_REDIS": "--redis",
    "FEEDMILL_TOPIC_PREFIX": "--prefix",
    "FEEDMILL_REDIS_PREFIX": "--redis-prefix",
}

_NO_CONNECTION = (kafka.errors.KafkaConnectionError, kafka.errors.KafkaTimeoutError)

Command = Callable[..., Any]


class StoreType(click.ParamType):
    """A store of models on the command line: a folder, or `s3://bucket/prefix`."""

    name = "store"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Store:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return] # click's own: a default, already a store
        try:
            store = parse_store(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)
        if isinstance(store, Path) and store.is_file():
            self.fail(f"Directory {value!r} is a file.", param, ctx)
        return store


def user_name() -> str:
    """The name of the user who runs the command; "unknown" if the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


arm_option = click.option(
    "--arm",
    default="",
    metavar="NAME",
    help="What readers of this arm get, of the experiment that runs in the feed.",
)
by_option = click.option("--by", show_default="your user name", help="Who makes the change.")


def with_environment(command: Command) -> Command:
    """Give a command `--kafka`, `--redis`, `--prefix` and `--redis-prefix`.

    The command gets the resulting `Environment` as its keyword argument `environment`. A flag
    wins over its variable. If neither FEEDMILL_KAFKA nor FEEDMILL_REDIS is set, the local stack
    serves if one of its servers runs.

    The command then raises `UsageError` if a flag or a variable is wrong, or if it cannot use
    Kafka or Redis.
    """
    return _with_flags(command, _environment_or_local_stack)


def with_given_environment(command: Command) -> Command:
    """Do the same as `with_environment`, but never choose the local stack."""
    return _with_flags(command, read_environment)


def _with_flags(command: Command, read: Callable[[Mapping[str, str]], Environment]) -> Command:
    @click.option("--kafka", metavar="HOST:PORT", help="Kafka's address.  [FEEDMILL_KAFKA]")
    @click.option("--redis", "redis_url", metavar="URL", help="Redis' url.  [FEEDMILL_REDIS]")
    @click.option(
        "--prefix",
        "topic_prefix",
        metavar="PREFIX",
        help="Prefix of topics and consumer groups.  [FEEDMILL_TOPIC_PREFIX]",
    )
    @click.option(
        "--redis-prefix", metavar="PREFIX", help="Prefix of Redis keys.  [FEEDMILL_REDIS_PREFIX]"
    )
    @functools.wraps(command)
    def wrapped(*args: object, **options: Any) -> Any:
        flags = {name: options.pop(name) for name in _VARIABLE_OF_FLAG}
        given = {_VARIABLE_OF_FLAG[name]: text for name, text in flags.items() if text is not None}
        environment = _read_named(read, given)
        # The clients log each failed attempt; the one reason below is enough.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        try:
            return command(*args, environment=environment, **options)
        except kafka.errors.KafkaError as error:
            raise UsageError(
                f"Kafka at {environment.kafka}: {_reason(error)}; start it (`feedmill local up`"
                " starts a local one), or correct --kafka, FEEDMILL_KAFKA or the credentials"
            ) from error
        except redis.RedisError as error:
            way_out = "start it (`feedmill local up` starts a local one), or correct"
            if isinstance(error, redis.AuthenticationError | redis.ResponseError):
                way_out = "it answers: correct user, password and database in"
            raise UsageError(
                f"Redis at {environment.redis_address}: {_reason(error)}; {way_out} --redis or"
                " FEEDMILL_REDIS"
            ) from error

    return wrapped


def _read_named(
    read: Callable[[Mapping[str, str]], Environment], given: Mapping[str, str]
) -> Environment:
    """Read the environment; a refusal names the flag that was given, not its variable."""
    try:
        return read({**os.environ, **given})
    except UsageError as error:
        variable, colon, reason = str(error).partition(": ")
        if colon and variable in given:
            raise UsageError(f"{_TYPED[variable]}: {reason}") from None
        raise


def _reason(error: Exception) -> str:
    # The client's own text lists its attempts; the address is in the message already.
    if isinstance(error, _NO_CONNECTION):
        return "cannot connect"
    return str(error).rstrip(".") or type(error).__name__


def _environment_or_local_stack(variables: Mapping[str, str]) -> Environment:
    if "FEEDMILL_KAFKA" not in os.environ and "FEEDMILL_REDIS" not in os.environ:
        local_stack = status(default_folder())
        # Where a part is away, what is said of it needs its address all the more.
        if any((*local_stack.kafka_pids, local_stack.redis_pid)):
            variables = {
                "FEEDMILL_KAFKA": local_stack.kafka,
                "FEEDMILL_REDIS": local_stack.redis,
                **variables,
            }
    return read_environment(variables)
