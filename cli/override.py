"""`feedmill override`: a moderator overrules the models, and sees which overrides are in force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from feedmill.cli import Duration, flag, option, together
from feedmill.cli.awaited_change import timeout_option
from feedmill.cli.options import asks_installation, by_option, made_by, with_environment
from feedmill.cli.output import Answer, Columns, json_option, print_answer, show, warn
from feedmill.cli.posts_on_kafka import MOST_RECORDS, is_author
from feedmill.events.errors import BadEvent, FeedmillError, UsageError
from feedmill.events.override import Override, OverrideKey, OverrideVerdict
from feedmill.operations.changes import write_change
from feedmill.operations.overrides import (
    LastOverride,
    OverrideRow,
    last_overrides,
    override_key,
    override_rows,
    verdict_record,
    visible_after_ms,
    withdrawal_record,
)
from feedmill.operations.times import duration_text, time_text
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.redis.reader import open_feed_reader
from feedmill.streams.settings.clock import now_ms

_CLOCK_OFF_MS = 60_000


# The argument and the options that all four commands have.
_subject_options = together(
    click.argument("subject"),
    option("--gate", "The gate that it overrules; *: all gates.", default="*"),
    timeout_option(5.0, "until the post in Redis shows it"),
    json_option,
    with_environment,
)
# Those, and what hide, demote and allow have beside them.
_verdict_options = together(
    _subject_options,
    option("--reason TEXT", "Why; `feedmill explain` shows it.", default=""),
    by_option,
    option(
        "--expires",
        "How long it is in force: 90s, 30m, 2h or 7d.  [without an end]",
        Duration(),
        name="duration_ms",
    ),
)


@click.group()
def override() -> None:
    """Overrule the models for a post (post:<id>) or for an author's posts (author:<id>)."""


@override.command("hide")
@_verdict_options
def hide_command(environment: Environment, subject: str, gate: str, **options: Any) -> None:
    """Hide it in every feed."""
    _send_verdict(environment, "hide", subject, gate, **options)


@override.command("demote")
@_verdict_options
def demote_command(environment: Environment, subject: str, gate: str, **options: Any) -> None:
    """Demote it: apply the gate's demote factor, the smallest of all for the gate `*`."""
    _send_verdict(environment, "demote", subject, gate, **options)


@override.command("allow")
@flag("--any-version", "Allow later edits of the post too.")
@_verdict_options
def allow_command(
    environment: Environment, subject: str, gate: str, any_version: bool, **options: Any
) -> None:
    """Show it, whatever the gate says.

    Of a post only the current version is allowed, unless --any-version is given.
    """
    key = _parse_key(environment, subject, gate)
    post_offset = None
    if key.kind == "post" and not any_version:
        reader = open_feed_reader(environment.redis, environment.redis_prefix)
        post_offset = reader.post(key.id).post_offset
        if post_offset < 0:
            raise UsageError(
                f"Redis has no post `{key.id}`, so its current version is unknown; wait until the"
                " combiner has written the post, or allow every version with --any-version"
            )
    _send_verdict(environment, "allow", subject, gate, post_offset=post_offset, **options)


@override.command("clear")
@flag("--all", "Withdraw those of all its gates.", "every_gate")
@by_option
@option("--reason TEXT", "Why; `feedmill audit` shows it.", default="")
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
    key = _parse_key(environment, subject, gate)
    if every_gate and gate != "*":
        raise click.UsageError("give --gate or --all")
    who, at_ms = made_by(by, reason), now_ms()
    in_force = {
        one: given
        for one, given in _last_of_each(environment).items()
        if one.subject == subject and not given.is_over(at_ms)
    }
    cleared = [one for one in in_force if every_gate or one == key]
    changes = [withdrawal_record(one, who, in_force[one].value) for one in cleared]
    offsets = [write_change(environment, who, change).offset for change in changes]
    names = [str(one) for one in cleared]

    def is_gone(shown: Sequence[Any]) -> bool:
        return not any(f"{each['subject']}|{each['gate']}" in names for each in shown)

    for one, offset in zip(cleared, offsets, strict=True):
        answer = _visible(environment, one, offset, timeout_s, is_gone)
        print_answer(answer, as_json=as_json)
    if not cleared:
        content = {"key": str(key), "offset": None, "visible_after_ms": None}
        text = f"no override `{key}` is in force, so nothing was written"
        print_answer(Answer(content, [text]), as_json=as_json)
    left = [
        f"{in_force[one].override.verdict} for the gate `{one.gate}`"
        for one in in_force.keys() - {*cleared}
    ]
    if left:
        shown = ", ".join(sorted(left))
        warn(f"still in force for {subject}: {shown}; --all clears every gate")


@override.command("list")
@click.argument("subject", required=False)
@option("--by NAME", "Only those of this moderator.")
@flag("--expired", "Also those that are over.")
@asks_installation
def list_command(
    environment: Environment, subject: str | None, by: str | None, expired: bool
) -> Answer:
    """List the overrides in force: what was decided, by whom, why, and when it expires.

    Those that expire first come first, those without an end last. SUBJECT is post:<id> or
    author:<id>; without it all are listed.
    """
    if subject is not None:
        _parse_key(environment, subject, "*")
    at_ms = now_ms()
    last = _last_of_each(environment)
    rows = override_rows(last, at_ms, subject=subject, by=by, with_expired=expired)

    def expiry(row: OverrideRow) -> str:
        until_ms = row.expires_at_ms
        if until_ms is None:
            return "never"
        left = "over" if row.is_over else f"in {duration_text(until_ms - at_ms)}"
        return f"{time_text(until_ms)}, {left}"

    columns: Columns = {
        **{name: name for name in ("subject", "gate", "verdict")},
        "version": lambda row: "any" if row.post_offset is None else str(row.post_offset),
        "by": "by",
        "decided": "at_ms:time",
        "expires": expiry,
        "reason": "reason",
    }
    empty = "no override is in force" + (f" for {subject}" if subject else "")
    answer = show(rows, columns, empty=empty)
    return Answer([row._asdict() for row in rows], answer.lines)


def _parse_key(environment: Environment, subject: str, gate: str) -> OverrideKey:
    """Return the key of a record, checked as every reader of the topic checks it.

    Raises `click.UsageError` where it is the key of no override.
    """
    try:
        return override_key(environment.signals, subject, gate)
    except BadEvent as error:
        raise click.UsageError(str(error)) from None


def _last_of_each(environment: Environment) -> dict[OverrideKey, LastOverride]:
    return last_overrides(read_all(environment, "overrides"), environment.signals)


def _send_verdict(
    environment: Environment,
    verdict: OverrideVerdict,
    subject: str,
    gate: str,
    *,
    by: str | None,
    reason: str,
    duration_ms: int | None,
    timeout_s: float,
    as_json: bool,
    post_offset: int | None = None,
) -> None:
    key = _parse_key(environment, subject, gate)
    who, at_ms = made_by(by, reason), now_ms()
    last = _last_of_each(environment).get(key)
    expires_ms = None if duration_ms is None else at_ms + duration_ms
    wanted = Override(verdict, who.by, reason, at_ms, expires_ms, post_offset)
    before = None if last is None else last.value
    change = verdict_record(environment.signals, key, wanted, before)
    offset, stored_ms = write_change(environment, who, change)
    if duration_ms is not None and abs(at_ms - stored_ms) > _CLOCK_OFF_MS:
        off_s = (at_ms - stored_ms) / 1000
        warn(
            f"the override expires by the broker's clock, and this machine's is {off_s:+.0f} s off"
        )

    def is_there(shown: Sequence[Any]) -> bool:
        return any(each["at_ms"] == at_ms for each in shown)

    print_answer(_visible(environment, key, offset, timeout_s, is_there), as_json=as_json)
    if key.kind == "author" and timeout_s and not is_author(environment, key.id):
        raise FeedmillError(
            f"the override is written, but none of the last {MOST_RECORDS:,} records of `posts` is"
            f" by {key.id}; check the id, which `feedmill explain` shows of a post; it takes effect"
            " with the author's first post"
        )


def _visible(
    environment: Environment,
    key: OverrideKey,
    offset: int,
    timeout_s: float,
    is_done: Callable[[Sequence[Any]], bool],
) -> Answer:
    """Wait until the overrides that Redis shows of a post are as wanted; an author has none there.

    Fails where that took longer than `timeout_s`; 0: does not wait.
    """
    visible_ms, failure = visible_after_ms(environment, key, timeout_s, is_done), None
    lines = [f"`{key}` written at offset {offset}"]
    if visible_ms is not None:
        lines.append(f"visible in Redis after {visible_ms:.0f} ms")
    elif timeout_s and key.kind == "post":
        failure = FeedmillError(
            f"the override is written, but {key.subject} in Redis does not show it after"
            f" {timeout_s:g} s; it takes effect as soon as a combiner runs and has the post"
        )
    rounded_ms = None if visible_ms is None else round(visible_ms)
    content = {"key": str(key), "offset": offset, "visible_after_ms": rounded_ms}
    return Answer(content, lines, failure)
