"""`feedmill feed <feed>`: show a ranked feed, once or whenever it changes."""

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
from feedmill.cli.options import arm_option, with_environment
from feedmill.cli.output import on_terminal, print_json
from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.redis.reader import FeedReader, open_feed_reader

POLL_S = 2.0
PAUSE_LIVE_S = 0.4
PAUSE_PLAIN_S = 1.0
_RETRY_S = 1.0
_NOTICE_EVERY_S = 10.0


@click.command("feed")
@click.argument("feed_name", metavar="FEED")
@click.option(
    "--top",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    metavar="N",
    help="How many posts.",
)
@arm_option
@click.option("--follow", "following", is_flag=True, help="Show it again whenever it changes.")
@click.option(
    "--for",
    "duration_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to follow.  [until Ctrl-C]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --follow a line each time.")
@with_environment
def feed(
    environment: Environment,
    feed_name: str,
    top: int,
    arm: str,
    following: bool,
    duration_s: float | None,
    as_json: bool,
) -> None:
    """Show the top of a feed.

    FEED is global, community:<name>, lang:<name> or the name of a declared feed.
    """
    reader = open_feed_reader(environment.redis, environment.redis_prefix)
    arm = reader.arm_named(feed_name, arm) if arm else ""
    if following:
        follow(reader, feed_name, top, duration_s, as_json=as_json, arm=arm)
        return
    table = read_feed_table(reader, feed_name, top, arm)
    if table is None:
        raise UsageError(_no_feed_text(reader, feed_name))
    if as_json:
        print_json(table.as_dict())
    elif on_terminal():
        console = Console()
        console.print(live_feed_table(table, {}, console.width))
    else:
        click.echo(plain_feed_table(table), nl=False)


def _no_feed_text(reader: FeedReader, feed_name: str) -> str:
    similar = reader.similar(feed_name)
    meant = f" did you mean `{similar}`? Or" if similar else ""
    return (
        f"Redis has no feed `{feed_name}`;{meant} check the name, that a combiner runs, that a post"
        " matches the feed, and --redis and --redis-prefix"
    )


def follow(
    reader: FeedReader,
    feed_name: str,
    top: int,
    duration_s: float | None,
    *,
    as_json: bool = False,
    arm: str = "",
) -> None:
    """Show a feed whenever it changes, until Ctrl-C or for `duration_s` seconds.

    On a terminal the table is drawn in place. Elsewhere a plain table is printed when the version
    or the freshness changes, at most one a second; with `as_json` a line of JSON instead. Waits
    for a feed that does not exist yet, and goes on when Redis was away for a while.

    Raises
    ------
    UsageError
        The feed did not appear within `duration_s`.
    """
    end = None if duration_s is None else time.monotonic() + duration_s
    live = on_terminal() and not as_json
    min_pause_s = PAUSE_LIVE_S if live else PAUSE_PLAIN_S
    tables = _feed_tables(reader, (feed_name, arm), top, end, min_pause_s)
    appeared = False
    with suppress(KeyboardInterrupt):
        appeared = _draw_in_place(tables) if live else _print_changes(tables, as_json)
    if end is not None and not appeared and time.monotonic() >= end:
        raise UsageError(_no_feed_text(reader, feed_name))


def _draw_in_place(tables: Iterator[FeedTable]) -> bool:
    """Draw each table over the one before; False if there was none."""
    rank_changes = RankChanges()
    appeared = False
    with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as screen:
        for table in tables:
            changes = rank_changes.update(table, time.monotonic())
            width = screen.console.width
            screen.update(live_feed_table(table, changes, width), refresh=True)
            appeared = True
    return appeared


def _print_changes(tables: Iterator[FeedTable], as_json: bool) -> bool:
    """Print the tables that differ in version or freshness; False if there was none."""
    printed = None
    for table in tables:
        current = (table.snapshot.version, table.state)
        if current == printed:
            continue
        printed = current
        if as_json:
            click.echo(msgspec.json.encode(table.as_dict()))
        else:
            click.echo(plain_feed_table(table))
    return printed is not None


def _feed_tables(
    reader: FeedReader, named: tuple[str, str], top: int, end: float | None, min_pause_s: float
) -> Iterator[FeedTable]:
    """Yield a feed, or an arm of it, after each message about it and every 2 s, until `end`.

    Two tables are at least `min_pause_s` apart.
    """
    feed_name, arm = named
    messages = reader.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis
    notice = _RareNotice()
    try:
        while (now := time.monotonic()) < (end or now + 1):
            try:
                table = read_feed_table(reader, feed_name, top, arm)
                if table is not None:
                    yield table
                else:
                    notice.print(f"waiting for the feed `{feed_name}` …")
                if not messages.subscribed:
                    messages.subscribe(reader.changes)
                latest = now + POLL_S if end is None else min(now + POLL_S, end)
                _wait_for_message(messages, feed_name, now + min_pause_s, latest)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                notice.print(f"Redis is away, trying again: {error}")
                time.sleep(min(_RETRY_S, max(0.0, (end or now + 1) - time.monotonic())))
    finally:
        messages.close()


class _RareNotice:
    """Prints on stderr, but at most every ten seconds."""

    def __init__(self) -> None:
        self._printed_at: float | None = None

    def print(self, text: str) -> None:
        now = time.monotonic()
        if self._printed_at is None or now - self._printed_at > _NOTICE_EVERY_S:
            self._printed_at = now
            click.echo(text, err=True)


def _wait_for_message(
    messages: redis.client.PubSub, feed_name: str, earliest: float, latest: float
) -> None:
    """Return once the feed has changed, but neither before `earliest` nor after `latest`."""
    changed = False
    while (left_s := (earliest if changed else latest) - time.monotonic()) > 0:
        message = messages.get_message(timeout=left_s)
        if message is not None and _feed_in(message) == feed_name:
            changed = True


def _feed_in(message: dict[str, object]) -> object:
    """The feed that a message on `feed-changes` is about; None if it cannot be decoded."""
    data = message.get("data")
    try:
        change = msgspec.json.decode(data) if isinstance(data, bytes) else None
    except msgspec.DecodeError:
        return None
    return change.get("feed") if isinstance(change, dict) else None
