"""Where a command finds Kafka and Redis; no server runs."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import kafka.errors
import pytest
import redis
from click.testing import CliRunner, Result

from feedmill.cli import options
from feedmill.cli.options import with_environment, with_given_environment
from feedmill.deploy.local import StackStatus
from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment

LOCAL = StackStatus(Path("folder"), "local:9092", "redis://local:6379/0", (7,), 8)
WITHOUT_REDIS = replace(LOCAL, redis_pid=None)
WITHOUT_KAFKA = replace(LOCAL, kafka_pids=(None,))
DOWN = replace(WITHOUT_REDIS, kafka_pids=(None,))

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

pytestmark = pytest.mark.usefixtures("no_variables")


def run(
    *flags: str, decorator: Decorator = with_environment, error: Exception | None = None
) -> tuple[Result, list[Environment]]:
    """Run a command with these flags that raises an error; and the environment that it got."""
    got: list[Environment] = []

    @click.command()
    @decorator
    def command(environment: Environment) -> None:
        got.append(environment)
        if error is not None:
            raise error

    return CliRunner().invoke(command, flags), got


def environment_of(*flags: str, decorator: Decorator = with_environment) -> Environment:
    result, (environment,) = run(*flags, decorator=decorator)
    assert result.exit_code == 0, result.output
    return environment


def use_stack(monkeypatch: pytest.MonkeyPatch, status: StackStatus) -> None:
    monkeypatch.setattr(options, "status", lambda _: status)


def servers(environment: Environment) -> tuple[str, str]:
    return environment.kafka, environment.redis


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA", "TOPIC_PREFIX", "REDIS_PREFIX"):
        monkeypatch.setenv(f"FEEDMILL_{name}", "variable:1" if name == "KAFKA" else "variable.")
    environment = environment_of("--kafka", "flag:1", "--prefix", "flag.")
    assert environment.kafka == "flag:1"
    assert environment.topic_prefix == "flag."
    assert environment.redis_prefix == "variable."
    url = "redis://flag:1/0"
    flags = ("--redis", url, "--redis-prefix", "flag.")
    environment = environment_of(*flags)
    assert (environment.redis, environment.redis_prefix) == (url, "flag.")
    assert environment.kafka == "variable:1"


def test_the_local_stack_serves_if_nothing_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stack(monkeypatch, LOCAL)
    assert servers(environment_of()) == (LOCAL.kafka, LOCAL.redis)
    assert servers(environment_of("--kafka", "flag:1")) == ("flag:1", LOCAL.redis)


@pytest.mark.parametrize("variable", ["KAFKA", "REDIS"])
def test_a_variable_switches_the_local_stack_off(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stack(monkeypatch, LOCAL)
    text = {"KAFKA": "variable:1", "REDIS": "redis://variable:1/0"}[variable]
    monkeypatch.setenv(f"FEEDMILL_{variable}", text)
    expected = {"KAFKA": Environment.kafka, "REDIS": Environment.redis, variable: text}
    assert servers(environment_of()) == (expected["KAFKA"], expected["REDIS"])


def test_a_local_stack_that_does_not_run_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stack(monkeypatch, DOWN)
    assert servers(environment_of()) == (Environment.kafka, Environment.redis)


@pytest.mark.parametrize("stack", [WITHOUT_REDIS, WITHOUT_KAFKA])
def test_a_local_stack_keeps_its_addresses_while_one_of_its_servers_is_away(
    stack: StackStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stack(monkeypatch, stack)
    assert servers(environment_of()) == (LOCAL.kafka, LOCAL.redis)


def test_a_given_environment_is_never_the_local_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stack(monkeypatch, LOCAL)
    environment = environment_of(decorator=with_given_environment)
    assert servers(environment) == (Environment.kafka, Environment.redis)


def test_the_variables_of_the_process_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stack(monkeypatch, LOCAL)
    before = dict(os.environ)
    environment_of("--kafka", "flag:1")
    assert dict(os.environ) == before


def test_kafka_that_cannot_be_used_is_named_with_the_way_out() -> None:
    error = kafka.errors.TopicAuthorizationFailedError("posts")
    result, _ = run("--kafka", "flag:1", error=error)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == (
        "Kafka at flag:1: [Error 29] TopicAuthorizationFailedError: posts; start it (`feedmill"
        " local up` starts a local one), or correct --kafka, FEEDMILL_KAFKA or the credentials"
    )


def test_redis_that_cannot_be_used_is_named_without_its_password() -> None:
    url = "redis://user:secret@flag:1/0"
    result, _ = run("--redis", url, error=redis.ConnectionError("refused"))
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == (
        "Redis at redis://flag:1/0: refused; start it (`feedmill local up` starts a local one), or"
        " correct --redis or FEEDMILL_REDIS"
    )


def test_other_errors_are_left_alone() -> None:
    error = ZeroDivisionError()
    assert run(error=error)[0].exception is error
