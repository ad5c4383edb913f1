"""Options that several commands have, where a command finds Kafka and Redis, and who calls it."""

from __future__ import annotations

import functools
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import kafka.errors
import redis

from feedmill.cli import Command, option, together
from feedmill.cli.output import answers
from feedmill.deploy.local import default_folder, status
from feedmill.events.errors import UsageError
from feedmill.models.store_files import Store, parse_store
from feedmill.operations import changes
from feedmill.operations.changes import MadeBy
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.kafka.client import no_kafka, why_no_connection
from feedmill.streams.security import way_out

# Each flag, the field of `Environment` that shows it, its variable, what it takes, and its help.
_FLAGS = (
    ("--kafka", "kafka", "FEEDMILL_KAFKA", "HOST:PORT", "Kafka's address."),
    ("--redis", "redis_address", "FEEDMILL_REDIS", "URL", "Redis' url."),
    ("--prefix", "topic_prefix", "FEEDMILL_TOPIC_PREFIX", "PREFIX",
     "Prefix of topics and consumer groups."),
    ("--redis-prefix", "redis_prefix", "FEEDMILL_REDIS_PREFIX", "PREFIX", "Prefix of Redis keys."),
)  # fmt: skip

_NO_CONNECTION = (kafka.errors.KafkaConnectionError, kafka.errors.KafkaTimeoutError)


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


def made_by(by: str | None, note: str | None = None) -> MadeBy:
    """Return who makes a change, for the audit: by which name, where, by this command, and why."""
    names = list[str]()
    context = click.get_current_context()
    while context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return changes.made_by(by, " ".join(names), note)


arm_option = option(
    "--arm NAME",
    "What readers of this arm get, of the experiment that runs in the feed.",
    default="",
)
by_option = option("--by", "Who makes the change.", show_default="your user name")
note_option = option("--note TEXT", "Why.", default="")


def asks_installation(command: Command) -> Command:
    """Give a command that returns an `Answer` `--json` and what `with_environment` gives."""
    return answers(with_environment(command))


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
    @functools.wraps(command)
    def wrapped(*args: object, **options: Any) -> Any:
        flags = {variable: options.pop(name) for _, name, variable, *_ in _FLAGS}
        given = {variable: text for variable, text in flags.items() if text is not None}
        environment = _read_named(read, given)
        # The clients log each failed attempt; the one reason below is enough.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        try:
            return command(*args, environment=environment, **options)
        except kafka.errors.KafkaError as error:
            is_away = isinstance(error, _NO_CONNECTION)
            reason = why_no_connection(environment) if is_away else _reason(error)
            raise no_kafka(environment.kafka, reason) from error
        except redis.RedisError as error:
            reason, start = _reason(error), "start it (`feedmill local up` starts a local one), or"
            out = f"{way_out(reason, 'REDIS') or start + ' correct --redis or FEEDMILL_REDIS'}"
            if isinstance(error, redis.AuthenticationError | redis.ResponseError):
                out = "it answers: correct user, password and database in --redis or FEEDMILL_REDIS"
            raise UsageError(f"Redis at {environment.redis_address}: {reason}; {out}") from error

    return together(
        *(
            option(f"{flag} {metavar}", f"{text}  [{variable}]", name=name)
            for flag, name, variable, metavar, text in _FLAGS
        )
    )(wrapped)


def _read_named(
    read: Callable[[Mapping[str, str]], Environment], given: Mapping[str, str]
) -> Environment:
    """Read the environment; a refusal names the flag that was given, not its variable."""
    # A flag wins over the variable, so over its file, too.
    files = dict.fromkeys((f"{name}_FILE" for name in given), "")
    try:
        return read({**os.environ, **files, **given})
    except UsageError as error:
        variable, colon, reason = str(error).partition(": ")
        if colon and variable in given:
            typed = next(flag for flag, _, named, *_ in _FLAGS if named == variable)
            raise UsageError(f"{typed}: {reason}") from None
        raise


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _environment_or_local_stack(variables: Mapping[str, str]) -> Environment:
    if not os.environ.keys() & {"FEEDMILL_KAFKA", "FEEDMILL_REDIS", "FEEDMILL_REDIS_FILE"}:
        local_stack = status(default_folder())
        # Where a part is away, what is said of it needs its address all the more.
        if any((*local_stack.kafka_pids, local_stack.redis_pid)):
            variables = {
                "FEEDMILL_KAFKA": local_stack.kafka,
                "FEEDMILL_REDIS": local_stack.redis,
                **variables,
            }
    return read_environment(variables)


def own_command() -> str:
    """Return how to call this feedmill: by its name where that finds it, else by its path."""
    script = Path(sys.executable).parent / "feedmill"
    found = shutil.which("feedmill")
    if not script.exists() or (found is not None and Path(found).samefile(script)):
        return "feedmill"
    return os.path.relpath(script)


def proposed(words: Sequence[str], variables: Mapping[str, str] | None = None) -> str:
    """Return a command line to paste, with the variables before it that it needs."""
    before = [f"{name}={shlex.quote(text)}" for name, text in (variables or {}).items()]
    return " ".join([*before, own_command(), *map(shlex.quote, words)])


def installation_flags(given: Environment) -> str:
    """Return the flags that name this installation to a command; none if it is the usual one.

    Without the password of Redis: it does not belong on a screen.
    """
    return "".join(
        f" {flag} {shlex.quote(value)}"
        for flag, name, *_ in _FLAGS
        if (value := getattr(given, name)) != getattr(Environment(), name)
    )
