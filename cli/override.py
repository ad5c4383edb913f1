"""`feedmill override hide|demote|allow|clear <subject>`: a moderator overrules the models.

The command `list` is in `override_list.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from feedmill.cli.duration import Duration
from feedmill.cli.made_by import made_by
from feedmill.cli.options import by_option, with_environment
from feedmill.cli.output import json_option, print_json
from feedmill.cli.override_list import is_over, last_of_each, list_command, parse_key
from feedmill.cli.unknown_post import MOST_RECORDS, is_author
from feedmill.events.decode import decode_override, encode
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.events.override import Override, OverrideKey, OverrideVerdict, Withdrawal
from feedmill.operations.changes import Change, MadeBy, write_change
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import SentRecord
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.clock import now_ms

_POLL_S = 0.02
_CLOCK_OFF_MS = 60_000


def _subject_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument and the options that all four commands have."""
    for decorate in (
        with_environment,
        json_option,
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0),
            default=5.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait until the post in Redis shows it; 0: do not wait.",
        ),
        click.option(
            "--gate",
            default="*",
            show_default=True,
            help="The gate that it overrules; *: all gates.",
        ),
        click.argument("subject"),
    ):
        command = decorate(command)
    return command


def _verdict_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those, and what hide, demote and allow have beside them."""
    for decorate in (
        click.option(
            "--expires",
            "duration_ms",
            type=Duration(),
            help="How long it is in force: 90s, 30m, 2h or 7d.  [without an end]",
        ),
        by_option,
        click.option(
            "--reason", default="", metavar="TEXT", help="Why; `feedmill explain` shows it."
        ),
    ):
        command = decorate(command)
    return _subject_options(command)


@click.group()
def override() -> None:
    """Overrule the models for a post (post:<id>) or for an author's posts (author:<id>)."""


override.add_command(list_command)


@override.command("hide")
@_verdict_options
def hide_command(environment: Environment, subject: str, gate: str, **options: Any) -> None:
    """Hide it in every feed."""
    _send_verdict(environment, "hide", subject, gate, options)


@override.command("demote")
@_verdict_options
def demote_command(environment: Environment, subject: str, gate: str, **options: Any) -> None:
    """Demote it: apply the gate's demote factor, the smallest of all for the gate `*`."""
    _send_verdict(environment, "demote", subject, gate, options)


@override.command("allow")
@click.option("--any-version", is_flag=True, help="Allow later edits of the post too.")
@_verdict_options
def allow_command(
    environment: Environment, subject: str, gate: str, any_version: bool, **options: Any
) -> None:
    """Show it, whatever the gate says.

    Of a post only the current version is allowed, unless --any-version is given.
    """
    key = parse_key(environment, subject, gate)
    post_offset = None
    if key.kind == "post" and not any_version:
        post_offset = _current_version(_feed_reader(environment), key.id)
    _send_verdict(environment, "allow", subject, gate, options, post_offset)


@override.command("clear")
@click.option("--all", "every_gate", is_flag=True, help="Withdraw those of all its gates.")
@by_option
@click.option("--reason", default="", metavar="TEXT", help="Why; `feedmill audit` shows it.")
@_subject_options
def clear_command(
    environment: Environment,
    subject: str,
    gate: str,
    timeout_s: float,
    as_json: bool,
    by: str | None,
    reason: str,
    every_gate: bool,
) -> None:
    """Withdraw an override, so that the models decide again.

    Without --gate and --all that is the override of all gates together, `*`.
    """
    key = parse_key(environment, subject, gate)
    if every_gate and gate != "*":
        raise click.UsageError("give --gate or --all")
    who, at_ms = made_by(by, reason), now_ms()
    in_force = {
        one: given.verdict
        for one, (given, _) in last_of_each(environment).items()
        if one.subject == subject and not is_over(given, at_ms)
    }
    cleared = [one for one in in_force if every_gate or one == key]
    withdrawal = encode(Withdrawal(None, who.by, who.note))
    offsets = [_send(environment, one, withdrawal, who).offset for one in cleared]
    names = [str(one) for one in cleared]

    def is_gone(now: Any) -> bool:
        return not any(f"{each['subject']}|{each['gate']}" in names for each in _shown(now))

    wait_s = timeout_s if key.kind == "post" else 0.0
    for one, offset in zip(cleared, offsets, strict=True):
        visible_ms = _wait_for_override(environment, one, wait_s, is_gone)
        _report(one, offset, visible_ms, wait_s, as_json)
    if not cleared:
        _report(key, None, None, 0.0, as_json)
    if len(cleared) < len(in_force):
        left = (
            f"{in_force[one]} for the gate `{one.gate}`" for one in in_force.keys() - {*cleared}
        )
        text = f"still in force for {subject}: {', '.join(sorted(left))}; --all clears every gate"
        click.echo(text, err=True)


def _send_verdict(
    environment: Environment,
    verdict: OverrideVerdict,
    subject: str,
    gate: str,
    options: dict[str, Any],
    post_offset: int | None = None,
) -> None:
    key = parse_key(environment, subject, gate)
    who, at_ms = made_by(options["by"], options["reason"]), now_ms()
    duration_ms = options["duration_ms"]
    override_record = Override(
        verdict=verdict,
        by=who.by,
        reason=options["reason"],
        at_ms=at_ms,
        expires_at_ms=None if duration_ms is None else at_ms + duration_ms,
        post_offset=post_offset,
    )
    value = encode(override_record)
    decode_override(environment.signals, str(key).encode(), value)
    offset, stored_ms = _send(environment, key, value, who)
    if duration_ms is not None and abs(at_ms - stored_ms) > _CLOCK_OFF_MS:
        off_s = (at_ms - stored_ms) / 1000
        click.echo(
            f"the override expires by the broker's clock, and this machine's is {off_s:+.0f} s off",
            err=True,
        )
    wait_s = options["timeout_s"] if key.kind == "post" else 0.0
    visible_ms = _wait_for_override(
        environment, key, wait_s, lambda now: any(each["at_ms"] == at_ms for each in _shown(now))
    )
    _report(key, offset, visible_ms, wait_s, options["as_json"])
    if key.kind == "author" and options["timeout_s"] and not is_author(environment, key.id):
        raise FeedmillError(
            f"the override is written, but none of the last {MOST_RECORDS:,} records of `posts` is"
            f" by {key.id}; check the id, which `feedmill explain` shows of a post; it takes effect"
            " with the author's first post"
        )


def _send(environment: Environment, key: OverrideKey, value: bytes, who: MadeBy) -> SentRecord:
    _, before = last_of_each(environment).get(key, (None, None))
    return write_change(environment, who, Change("overrides", str(key), value, before))


def _current_version(reader: FeedReader, post_id: str) -> int:
    """The offset of the post's record, which stands for its version."""
    post = reader.post(post_id)
    if post.post_offset < 0:
        raise UsageError(
            f"Redis has no post `{post_id}`, so its current version is unknown; wait until the"
            " combiner has written the post, or allow every version with --any-version"
        )
    return post.post_offset


def _feed_reader(environment: Environment) -> FeedReader:
    return open_feed_reader(environment.redis, environment.redis_prefix)


def _shown(override_field: Any) -> list[Any]:
    """The overrides in the field of a post, which it has alone or beside `others`."""
    return [override_field, *override_field.get("others", ())] if override_field else []


def _wait_for_override(
    environment: Environment, key: OverrideKey, timeout_s: float, is_done: Callable[[Any], bool]
) -> float | None:
    """Wait until the post's field `override` is as wanted.

    Returns the milliseconds until then, None if `timeout_s` was too short.
    """
    if not timeout_s:
        return None
    reader = _feed_reader(environment)
    start = time.monotonic()
    while time.monotonic() - start < timeout_s:
        if is_done(reader.post(key.id).override):
            return (time.monotonic() - start) * 1000
        time.sleep(_POLL_S)
    return None


def _report(
    key: OverrideKey, offset: int | None, visible_ms: float | None, waited_s: float, as_json: bool
) -> None:
    if as_json:
        rounded_ms = None if visible_ms is None else round(visible_ms)
        print_json({"key": str(key), "offset": offset, "visible_after_ms": rounded_ms})
    elif offset is None:
        click.echo(f"no override `{key}` is in force, so nothing was written")
    else:
        click.echo(f"`{key}` written at offset {offset}")
        if visible_ms is not None:
            click.echo(f"visible in Redis after {visible_ms:.0f} ms")
    if waited_s and visible_ms is None:
        raise FeedmillError(
            f"the override is written, but {key.subject} in Redis does not show it after"
            f" {waited_s:g} s; it takes effect as soon as a combiner runs and has the post"
        )
