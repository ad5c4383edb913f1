"""`feedmill override list`: which overrides are in force, by whom, and until when."""

from __future__ import annotations

from typing import Any

import click

from feedmill.cli.duration import duration_text
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table, time_text
from feedmill.events.decode import decode_override
from feedmill.events.errors import BadEvent
from feedmill.events.override import Override, OverrideKey
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.clock import now_ms

_COLUMNS = ("subject", "gate", "verdict", "version", "by", "decided", "expires", "reason")


@click.command("list")
@click.argument("subject", required=False)
@click.option("--by", metavar="NAME", help="Only those of this moderator.")
@click.option("--expired", is_flag=True, help="Also those that are over.")
@json_option
@with_environment
def list_command(
    environment: Environment, subject: str | None, by: str | None, expired: bool, as_json: bool
) -> None:
    """List the overrides in force: what was decided, by whom, why, and when it expires.

    Those that expire first come first, those without an end last. SUBJECT is post:<id> or
    author:<id>; without it all are listed.
    """
    if subject is not None:
        parse_key(environment, subject, "*")
    at_ms = now_ms()
    found = [
        (key, override)
        for key, (override, _) in last_of_each(environment).items()
        if subject in (None, key.subject)
        and by in (None, override.by)
        and (expired or not is_over(override, at_ms))
    ]
    found.sort(key=lambda one: (one[1].expires_at_ms or 1 << 62, one[1].at_ms, str(one[0])))
    if as_json:
        print_json([_as_dict(key, override, at_ms) for key, override in found])
    elif not found:
        click.echo("no override is in force" + (f" for {subject}" if subject else ""))
    else:
        print_table(_COLUMNS, [_row(key, override, at_ms) for key, override in found])


def parse_key(environment: Environment, subject: str, gate: str) -> OverrideKey:
    """Return the key of a record, checked as every reader of the topic checks it.

    Raises
    ------
    click.UsageError
        It is the key of no override.
    """
    try:
        return decode_override(environment.signals, f"{subject}|{gate}".encode(), None)[0]
    except BadEvent as error:
        raise click.UsageError(str(error)) from None


def last_of_each(environment: Environment) -> dict[OverrideKey, tuple[Override, bytes]]:
    """Return the last override of each subject and gate, and its record's value, unless withdrawn.

    Records that break the contract are passed over, as the combiner does.
    """
    last: dict[OverrideKey, tuple[Override, bytes]] = {}
    for record in read_all(environment, "overrides"):
        try:
            key, override = decode_override(environment.signals, record.key, record.value)
        except BadEvent:
            continue
        last.pop(key, None)
        if override is not None:
            last[key] = override, record.value or b""
    return last


def is_over(override: Override, at_ms: int) -> bool:
    """Whether an override has run out."""
    return override.expires_at_ms is not None and override.expires_at_ms <= at_ms


def _row(key: OverrideKey, override: Override, at_ms: int) -> tuple[str, ...]:
    until_ms = override.expires_at_ms
    expires = "never"
    if until_ms is not None:
        left = "over" if until_ms <= at_ms else f"in {duration_text(until_ms - at_ms)}"
        expires = f"{time_text(until_ms)}, {left}"
    version = "any" if override.post_offset is None else str(override.post_offset)
    decided = time_text(override.at_ms)
    return (
        *(key.subject, key.gate, override.verdict, version, override.by, decided),
        *(expires, override.reason),
    )


def _as_dict(key: OverrideKey, override: Override, at_ms: int) -> dict[str, Any]:
    return {
        "subject": key.subject,
        "gate": key.gate,
        "verdict": override.verdict,
        "post_offset": override.post_offset,
        "by": override.by,
        "reason": override.reason,
        "at_ms": override.at_ms,
        "expires_at_ms": override.expires_at_ms,
        "is_over": is_over(override, at_ms),
    }
