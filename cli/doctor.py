"""`feedmill doctor`: what is wrong with an installation, before or while it runs."""

from __future__ import annotations

import logging
import os
import shlex
from contextlib import closing

import click

from feedmill.cli import option
from feedmill.cli.acls import role_rights, signal_option
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json
from feedmill.events.errors import FeedmillError
from feedmill.operations.status.health import DOCTOR_CHECKS
from feedmill.operations.status.installation import Installation, examine
from feedmill.operations.status.rights import rights_checks
from feedmill.streams.environment import Environment
from feedmill.streams.rights import ROLES
from feedmill.streams.settings.clock import now_ms

# Flags that the commands of ways out need as this one did; an address of Redis may hold a password.
_FLAGS = {"kafka": "--kafka", "topic_prefix": "--prefix"}
_FIELDS = ("check", "severity", "what", "where", "way_out")


@click.command()
@json_option
@option("--role", "Whose rights this user is to have.", click.Choice([*ROLES]))
@signal_option
@with_environment
def doctor(environment: Environment, as_json: bool, role: str | None, signal: str) -> None:
    """Say what is wrong with an installation, before or while it runs, each with its way out.

    Checks this process's variables, brokers, topics and their settings, what producers send,
    clocks, Redis, the store of models, instances, settings, groups and transactions. It changes
    nothing. With --role it compares what this user may do in Kafka and Redis with what the role
    needs, and checks nothing else; of transactional ids Kafka does not tell.

    Exits with 1 if something is wrong; what is only to be known (`warn`) does not fail.
    """
    # Clients say what they cannot do; the findings say it.
    logging.disable(logging.CRITICAL)
    given = click.get_current_context().params
    flags = "".join(
        f" {flag} {shlex.quote(given[name])}"
        for name, flag in _FLAGS.items()
        if given[name] is not None
    )
    try:
        with closing(Installation(environment, os.environ, now_ms, flags)) as inst:
            of_role = rights_checks(role, role_rights(environment, role, signal)) if role else ()
            findings, checks, skipped = examine(inst, of_role or DOCTOR_CHECKS)
    finally:
        logging.disable(logging.NOTSET)
    findings.sort(key=lambda one: one.severity != "wrong")
    if as_json:
        rows = [{name: getattr(one, name) for name in _FIELDS} for one in findings]
        print_json({"checks": checks, "skipped": skipped, "findings": rows})
    else:
        for one in findings:
            click.echo(f"{one.severity:5}  {one.check}: {one.what}")
            click.echo(f"       where    {one.where}\n       way out  {one.way_out}\n")
        away = f", {skipped} need a server that is away" if skipped else ""
        click.echo(f"{len(findings) or 'nothing'} found: {checks} checks{away}")
    if wrong := sum(one.severity == "wrong" for one in findings):
        raise FeedmillError(
            f"{wrong} wrong; each has its way out" + (" above" if not as_json else "")
        )
