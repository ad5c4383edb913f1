"""`feedmill acls`: which rights each role needs in Kafka and Redis."""

from __future__ import annotations

import click

from feedmill.cli import option
from feedmill.cli.options import with_given_environment
from feedmill.cli.output import print_json
from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.rights import (
    ROLES,
    Rights,
    as_json,
    kafka_acls,
    redis_rules,
    rights_of,
    strimzi,
)

FORMATS = ("kafka-acls", "strimzi", "redis", "json")


def role_rights(environment: Environment, role: str, signal: str) -> Rights:
    """Return what a role needs in this installation.

    Raises `UsageError`: the role is of one signal, and none is named that is declared.
    """
    if role == "own-signal" and signal not in environment.signals.all:
        raise UsageError(
            "the role own-signal is of one signal: name it with --signal, and declare it in"
            f" FEEDMILL_SIGNALS; got {signal!r}"
        )
    return rights_of(role, environment.signals, signal)


signal_option = option("--signal", "The signal of the role own-signal.", default="")


@click.group()
def acls() -> None:
    """Rights of each role in Kafka and Redis."""


@acls.command("print")
@option("--role", "For whom.", click.Choice([*ROLES]), required=True)
@option("--principal User:NAME", "Kafka's name of the user.", required=True)
@option(
    "--format",
    "Whose form the rights are printed in.",
    click.Choice(FORMATS),
    FORMATS[0],
    name="form",
)
@signal_option
@with_given_environment
def print_acls(environment: Environment, role: str, principal: str, form: str, signal: str) -> None:
    """Print what grants a role its rights, and connect to nothing.

    In the form of Kafka's own tool, of Strimzi's KafkaUser, of Redis' ACL, or as JSON. The signals
    are those that FEEDMILL_SIGNALS declares, the names have the prefixes of the installation.
    """
    if not principal.startswith("User:") or len(principal) == len("User:"):
        raise UsageError(f"--principal: expected User:NAME, got {principal!r}")
    rights, prefix = role_rights(environment, role, signal), environment.topic_prefix
    user = principal.removeprefix("User:")
    if form == "json":
        print_json(as_json(rights, principal, prefix, environment.redis_prefix))
    elif form == "strimzi":
        click.echo(strimzi(rights.kafka, user, prefix))
    elif form == "kafka-acls":
        click.echo("\n".join(kafka_acls(rights.kafka, principal, prefix, environment.kafka)))
    elif rights.redis is None:
        raise UsageError(f"the role {role} never connects to Redis")
    else:
        rules = " ".join(redis_rules(rights.redis, environment.redis_prefix))
        click.echo(f"user {user} on >PASSWORD {rules}")
