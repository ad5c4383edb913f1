"""`feedmill doctor`: what is wrong with an installation, before or while it runs."""

from __future__ import annotations

import logging
import os
import shlex

import click

from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json
from feedmill.events.errors import FeedmillError
from feedmill.operations.doctor.examination import Examination, examine
from feedmill.operations.doctor.finding import Finding
from feedmill.operations.doctor.installation import Installation
from feedmill.streams.environment import Environment
from feedmill.streams.settings.clock import now_ms

# Flags that the commands of ways out need as this one did; an address of Redis may hold a password.
_FLAGS = {"kafka": "--kafka", "topic_prefix": "--prefix"}


@click.command()
@json_option
@with_environment
def doctor(environment: Environment, as_json: bool) -> None:
    """Say what is wrong with an installation, before or while it runs, each with its way out.

    Checks this process's variables, brokers, topics and their settings, what producers send,
    clocks, Redis, the store of models, instances, settings, groups and transactions. It changes
    nothing. Exits with 1 if something is wrong; what is only to be known (`warn`) does not fail.
    """
    # Clients say what they cannot do; the findings say it.
    logging.disable(logging.CRITICAL)
    given = click.get_current_context().params
    flags = "".join(
        f" {flag} {shlex.quote(given[name])}"
        for name, flag in _FLAGS.items()
        if given[name] is not None
    )
    inst = Installation(environment, os.environ, now_ms, flags)
    try:
        examination = examine(inst)
    finally:
        inst.close()
        logging.disable(logging.NOTSET)
    if as_json:
        print_json(
            {
                "checks": examination.checks,
                "skipped": examination.skipped,
                "findings": [finding.as_dict() for finding in examination.findings],
            }
        )
    else:
        _print(examination)
    wrong = sum(finding.severity == "wrong" for finding in examination.findings)
    if wrong:
        raise FeedmillError(
            f"{wrong} wrong; each has its way out" + (" above" if not as_json else "")
        )


def _print(examination: Examination) -> None:
    for finding in examination.findings:
        click.echo(_text(finding))
    skipped = f", {examination.skipped} need a server that is away" if examination.skipped else ""
    count = len(examination.findings)
    found = f"{count} found" if count else "nothing found"
    click.echo(f"{found}: {examination.checks} checks{skipped}")


def _text(finding: Finding) -> str:
    return (
        f"{finding.severity:5}  {finding.check}: {finding.what}\n"
        f"       where    {finding.where}\n"
        f"       way out  {finding.way_out}\n"
    )
