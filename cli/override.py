"""`feedmill override hide|demote|allow|clear <subject>`: a moderator's decision, at once."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import click

from feedmill.cli.config import as_json, by_option, user_name
from feedmill.cli.options import with_environment
from feedmill.cli.output import print_json
from feedmill.events.decode import decode_override, encode
from feedmill.events.errors import BadEvent, FeedmillError, UsageError
from feedmill.events.override import Override, OverrideKey, OverrideVerdict
from feedmill.streams.kafka.topic_reader import send
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.environment import Environment

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])\Z")


class Duration(click.ParamType):
    """``90s``, ``30m``, ``2h``, ``7d``, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _DURATION.match(str(value))
        if match is None or not float(match[1]):
            self.fail(f"expected a time such as 90s, 30m, 2h or 7d, got {value!r}", param, ctx)
        return int(float(match[1]) * _UNITS_MS[match[2]])


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in (
        with_environment,
        as_json,
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0),
            default=5.0,
            show_default=True,
            help="seconds to wait until Redis shows it; 0: do not wait",
        ),
        click.option("--gate", default="*", show_default=True, help="the gate it decides, * all"),
        click.argument("subject"),
    ):
        command = decorate(command)
    return command


def _decision(command: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in (
        click.option("--expires", "lasts_ms", type=Duration(), help="until when: 90s, 2h, 7d"),
        by_option,
        click.option("--reason", default="", help="why; shown by explain"),
    ):
        command = decorate(command)
    return _common(command)


@click.group()
def override() -> None:
    """Overrule the models for a post (post:<id>) or an author (author:<id>)."""


@override.command("hide")
@_decision
def hide(environment: Environment, subject: str, gate: str, **said: Any) -> None:
    """Take it out of every feed."""
    _decide(environment, "hide", subject, gate, said)


@override.command("demote")
@_decision
def demote(environment: Environment, subject: str, gate: str, **said: Any) -> None:
    """Apply the gate's demote factor, for `*` the smallest of all."""
    _decide(environment, "demote", subject, gate, said)


@override.command("allow")
@click.option("--any-version", is_flag=True, help="hold for later edits of the post, too")
@_decision
def allow(
    environment: Environment, subject: str, gate: str, any_version: bool, **said: Any
) -> None:
    """Show it whatever the gate says; a post in its present version, unless --any-version."""
    key = _key(environment, subject, gate)
    offset = None
    if key.kind == "post" and not any_version:
        offset = _present_version(_shown(environment), key.id)
    _decide(environment, "allow", subject, gate, said, offset)


@override.command("clear")
@_common
def clear(
    environment: Environment, subject: str, gate: str, timeout_s: float, as_json: bool
) -> None:
    """Withdraw an override: the models decide again."""
    key = _key(environment, subject, gate)
    before = _visible(environment, key) if timeout_s else None
    offset = asyncio.run(send(environment, "overrides", str(key).encode(), None))
    wait = timeout_s if before is not None else 0.0
    seen = _wait(environment, key, wait, lambda now: now != before)
    if wait and seen is None and not as_json:
        click.echo("the override that Redis shows on the post is another one, and still holds")
    _report(key, offset, seen, 0.0, as_json)


def _decide(
    environment: Environment,
    verdict: OverrideVerdict,
    subject: str,
    gate: str,
    said: dict[str, Any],
    post_offset: int | None = None,
) -> None:
    key = _key(environment, subject, gate)
    now_ms = int(time.time() * 1000)
    lasts_ms = said["lasts_ms"]
    decided = Override(
        verdict=verdict,
        by=said["by"] or user_name(),
        reason=said["reason"],
        at_ms=now_ms,
        expires_at_ms=None if lasts_ms is None else now_ms + lasts_ms,
        post_offset=post_offset,
    )
    value = encode(decided)
    decode_override(environment.signals, str(key).encode(), value)
    offset = asyncio.run(send(environment, "overrides", str(key).encode(), value))
    wait = said["timeout_s"] if key.kind == "post" else 0.0
    seen = _wait(environment, key, wait, lambda now: _holds(now, now_ms))
    _report(key, offset, seen, wait, said["as_json"])


def _key(environment: Environment, subject: str, gate: str) -> OverrideKey:
    """The key, checked by the rules of the topic."""
    try:
        return decode_override(environment.signals, f"{subject}|{gate}".encode(), None)[0]
    except BadEvent as error:
        raise click.UsageError(str(error)) from None


def _present_version(shown: FeedReader, post_id: str) -> int:
    post = shown.post(post_id)
    if post.post_offset < 0:
        raise UsageError(
            f"Redis knows no post `{post_id}`, so the version to allow is unknown; wait until it"
            " is there, or allow whatever version comes with --any-version"
        )
    return post.post_offset


def _shown(environment: Environment) -> FeedReader:
    return open_feed_reader(environment.redis, environment.redis_prefix)


def _visible(environment: Environment, key: OverrideKey) -> Any:
    """The field `override` of the post, None for an author or where there is none."""
    return _shown(environment).post(key.id).override if key.kind == "post" else None


def _holds(said: Any, at_ms: int) -> bool:
    """Whether the field `override` holds, alone or beside others, the one given at this moment."""
    return bool(said) and at_ms in (one["at_ms"] for one in (said, *said.get("others", ())))


def _wait(
    environment: Environment, key: OverrideKey, timeout_s: float, done: Callable[[Any], bool]
) -> float | None:
    """Wait until Redis shows it; returns the milliseconds it took, None if it does not."""
    if not timeout_s:
        return None
    shown = _shown(environment)
    start = time.monotonic()
    while time.monotonic() - start < timeout_s:
        if done(shown.post(key.id).override):
            return (time.monotonic() - start) * 1000
        time.sleep(0.02)
    return None


def _report(
    key: OverrideKey, offset: int, seen_ms: float | None, waited_s: float, as_json: bool
) -> None:
    if as_json:
        ms = None if seen_ms is None else round(seen_ms)
        print_json({"key": str(key), "offset": offset, "visible_after_ms": ms})
    else:
        click.echo(f"`{key}` written at offset {offset}")
        if seen_ms is not None:
            click.echo(f"visible in Redis after {seen_ms:.0f} ms")
    if waited_s and seen_ms is None:
        raise FeedmillError(
            f"written, but after {waited_s:g} s Redis does not show it on {key.subject}; it holds"
            " once a combiner runs and the post is there"
        )
