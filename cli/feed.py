"""`feedmill feed <feed>`: the ranking, once or as it moves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import click
import msgspec
import redis
from rich.console import Console
from rich.live import Live

from feedmill.cli.feed_table import (
    FeedTable,
    RankChanges,
    live_feed_table,
    plain_feed_table,
    read_feed_table,
)
from feedmill.cli.options import with_environment
from feedmill.cli.output import on_terminal, print_json
from feedmill.events.errors import UsageError
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.environment import Environment

POLL_S = 2.0
PAUSE_LIVE_S = 0.4
PAUSE_PLAIN_S = 1.0


@click.command("feed")
@click.argument("feed")
@click.option("--top", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--follow", "following", is_flag=True, help="show it again whenever it changes")
@click.option("--for", "seconds", type=click.FloatRange(min=0), help="end --follow after this long")
@click.option("--json", "as_json", is_flag=True, help="print JSON, with --follow a line each time")
@with_environment
def feed_command(
    environment: Environment,
    feed: str,
    top: int,
    following: bool,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Show the top of a feed: global, community:<name>, lang:<name> or a declared one."""
    shown = open_feed_reader(environment.redis, environment.redis_prefix)
    if following:
        follow(shown, feed, top, seconds, as_json=as_json)
        return
    slate = read_feed_table(shown, feed, top)
    if slate is None:
        raise UsageError(missing(feed))
    if as_json:
        print_json(slate.as_dict())
    elif on_terminal():
        Console().print(live_feed_table(slate, {}))
    else:
        click.echo(plain_feed_table(slate), nl=False)


def missing(feed: str) -> str:
    return (
        f"there is no feed `{feed}` in Redis: no combiner is writing yet, no post matches it, or"
        " --redis or --redis-prefix point elsewhere"
    )


def follow(
    shown: FeedReader, feed: str, top: int, seconds: float | None, *, as_json: bool = False
) -> None:
    """Show a feed whenever it changes, until interrupted or for some seconds.

    On a terminal a live table, elsewhere plain tables when the version changes or the feed
    grows stale or fresh, at most one a second; with `as_json` a line of JSON instead.  Waits
    for a feed that is not there yet and goes on when Redis is away for a while.

    Raises
    ------
    UsageError
        The time is over and the feed never appeared.
    """
    end = None if seconds is None else time.monotonic() + seconds
    live = on_terminal() and not as_json
    slates = _feed_tables(shown, feed, top, end, PAUSE_LIVE_S if live else PAUSE_PLAIN_S)
    seen = False
    with suppress(KeyboardInterrupt):
        seen = _show_live(slates) if live else _show_lines(slates, as_json)
    if end is not None and not seen and time.monotonic() >= end:
        raise UsageError(missing(feed))


def _show_live(slates: Iterator[FeedTable]) -> bool:
    movement = RankChanges()
    seen = False
    with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as screen:
        for slate in slates:
            moves = movement.update(slate, time.monotonic())
            screen.update(live_feed_table(slate, moves), refresh=True)
            seen = True
    return seen


def _show_lines(slates: Iterator[FeedTable], as_json: bool) -> bool:
    told = None
    for slate in slates:
        now = (slate.shown.version, slate.state)
        if now == told:
            continue
        told = now
        if as_json:
            click.echo(msgspec.json.encode(slate.as_dict()))
        else:
            click.echo(plain_feed_table(slate))
    return told is not None


def _feed_tables(
    shown: FeedReader, feed: str, top: int, end: float | None, pause_s: float
) -> Iterator[FeedTable]:
    """Yield the feed when it is said to have changed and every 2 s, at most once a pause."""
    changes = shown.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis
    told = -60.0
    try:
        while (now := time.monotonic()) < (end or now + 1):
            try:
                slate = read_feed_table(shown, feed, top)
                if slate is not None:
                    yield slate
                elif now - told > 10:
                    told = now
                    click.echo(f"waiting for the feed `{feed}` …", err=True)
                if not changes.subscribed:
                    changes.subscribe(shown.changes)
                _wait_for_change(changes, feed, now + pause_s, _earlier(now + POLL_S, end))
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if now - told > 10:
                    told = now
                    click.echo(f"Redis is away, trying again: {error}", err=True)
                time.sleep(min(1.0, max(0.0, (end or now + 1) - time.monotonic())))
    finally:
        changes.close()


def _earlier(one: float, other: float | None) -> float:
    return one if other is None else min(one, other)


def _wait_for_change(changes: redis.client.PubSub, feed: str, least: float, most: float) -> None:
    """Return when this feed has changed, but not before `least` nor after `most`."""
    changed = False
    while (left := (least if changed else most) - time.monotonic()) > 0:
        message = changes.get_message(timeout=left)
        if message is not None and _feed_of(message) == feed:
            changed = True


def _feed_of(message: dict[str, object]) -> object:
    data = message.get("data")
    try:
        said = msgspec.json.decode(data) if isinstance(data, bytes) else None
    except msgspec.DecodeError:
        return None
    return said.get("feed") if isinstance(said, dict) else None
