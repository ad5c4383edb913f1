"""`feedmill feed <feed>`: show a ranked feed, once or whenever it changes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import click
import msgspec
import redis
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from feedmill.cli import SECONDS, flag, option
from feedmill.cli.options import arm_option, with_environment
from feedmill.cli.output import (
    Answer,
    Columns,
    number_text,
    on_terminal,
    plain_table,
    print_answer,
    say,
    table_of,
    warn,
)
from feedmill.events.errors import UsageError
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.operations.times import age_text
from feedmill.streams.environment import Environment
from feedmill.streams.redis.reader import (
    FeedReader,
    FeedSnapshot,
    PostSnapshot,
    State,
    open_feed_reader,
)
from feedmill.streams.settings.clock import now_ms

POLL_S = 2.0
PAUSE_LIVE_S = 0.4
PAUSE_PLAIN_S = 1.0
_RETRY_S = 1.0
_NOTICE_EVERY_S = 10.0
_ALIAS_OF = {objective: alias for alias, objective in OBJECTIVE_ALIASES.items()}
_STYLES = {"show": "green", "demote": "yellow", "hide": "red", "hold": "magenta"}
_STATE_STYLES = {"fresh": "green", "starting": "yellow", "stale": "bold red"}


@click.command("feed")
@click.argument("feed_name", metavar="FEED")
@option("--top N", "How many posts.", click.IntRange(1, 10_000), 20)
@arm_option
@flag("--follow", "Show it again whenever it changes.", "following")
@option("--for SECONDS", "How long to follow.  [until Ctrl-C]", SECONDS, name="duration_s")
@flag("--json", "Print JSON; with --follow a line each time.", "as_json")
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
    shown: str | Group = plain_feed_table(table)
    if on_terminal():
        shown = live_feed_table(table, {}, Console().width)
    print_answer(Answer(table.content, [shown]), as_json=as_json)


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
    for a feed that does not exist yet, and goes on when Redis was away for a while. Raises
    `UsageError` where the feed did not appear within `duration_s`.
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
        say(msgspec.json.encode(table.content) if as_json else f"{plain_feed_table(table)}\n")
    return printed is not None


def _feed_tables(
    reader: FeedReader, named: tuple[str, str], top: int, end: float | None, min_pause_s: float
) -> Iterator[FeedTable]:
    """Yield a feed, or an arm of it, after each message about it and every 2 s, until `end`.

    Two tables are at least `min_pause_s` apart.
    """
    feed_name, arm = named
    messages = reader.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis
    noticed_at = -math.inf

    def notice(text: str) -> None:
        """Say on stderr why nothing is shown, but not again and again."""
        nonlocal noticed_at
        if time.monotonic() - noticed_at > _NOTICE_EVERY_S:
            noticed_at = time.monotonic()
            warn(text)

    try:
        while (now := time.monotonic()) < (end or now + 1):
            try:
                table = read_feed_table(reader, feed_name, top, arm)
                if table is not None:
                    yield table
                else:
                    notice(f"waiting for the feed `{feed_name}` …")
                if not messages.subscribed:
                    messages.subscribe(reader.changes)
                latest = now + POLL_S if end is None else min(now + POLL_S, end)
                _wait_for_message(messages, feed_name, now + min_pause_s, latest)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                notice(f"Redis is away, trying again: {error}")
                time.sleep(min(_RETRY_S, max(0.0, (end or now + 1) - time.monotonic())))
    finally:
        messages.close()


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


@dataclass(frozen=True)
class FeedRow:
    """One post of a feed; `rank` starts at 1."""

    rank: int
    score: float
    post: PostSnapshot


@dataclass(frozen=True)
class FeedTable:
    """The top of a feed at one version, with its posts' data as Redis had them at `at_ms`."""

    snapshot: FeedSnapshot
    rows: tuple[FeedRow, ...]
    at_ms: int

    @property
    def scored(self) -> tuple[str, ...]:
        """The objectives and costs that count, or of which some post here has a value."""
        weights = self.snapshot.weights
        return tuple(
            name
            for name in (*weights.objectives, *weights.costs)
            if name in weights.signals or any(row.post.signal(name) for row in self.rows)
        )

    @property
    def gates(self) -> tuple[str, ...]:
        return tuple(self.snapshot.gates)

    @property
    def state(self) -> State:
        return self.snapshot.state(self.at_ms)

    @property
    def weights(self) -> str:
        """The weights of the objectives that count."""
        return ", ".join(
            f"{_ALIAS_OF.get(name, name)} {weight:g}"
            for name, weight in self.snapshot.weights.objectives.items()
            if name in self.scored
        )

    @property
    def size(self) -> str:
        return self.snapshot.info.get("size", "?")

    def age_of(self, row: FeedRow) -> str:
        """How old a post was; "" of one that is not known."""
        return age_text(self.at_ms - row.post.created_ms) if row.post.known else ""

    @property
    def signal_columns(self) -> dict[str, Callable[[Any], str]]:
        """The columns of signals."""
        return signal_columns(
            self.scored, self.gates, lambda row, name: row.post.value(name, self.snapshot.weights)
        )

    @property
    def freshness(self) -> str:
        left_s = self.snapshot.fresh_for_ms(self.at_ms) / 1000
        owned_s = max(self.snapshot.owned_for_ms(self.at_ms), 0) / 1000
        texts: dict[State, str] = {
            "fresh": f"fresh for {left_s:.0f} s",
            "starting": f"starting for {owned_s:.0f} s: not every stage has reported yet",
            "stale": f"STALE for {-left_s:.0f} s: a stage is down or behind",
        }
        return texts[self.state]

    @property
    def content(self) -> dict[str, Any]:
        """The table as `feedmill feed --json` prints it; signals without a record are left out."""
        info = self.snapshot.info
        return {
            "feed": self.snapshot.feed,
            **({"arm": self.snapshot.arm} if self.snapshot.arm else {}),
            "version": self.snapshot.version,
            "config_offset": self.snapshot.config_offset,
            "weights": self.snapshot.weights.shown(),
            "size": int(info.get("size", "0")),
            "written_at_ms": int(info.get("written_at_ms", "0")),
            "fresh_until_ms": int(info.get("fresh_until_ms", "0")),
            "fresh": self.state == "fresh",
            "state": self.state,
            "posts": [
                {
                    "rank": row.rank,
                    "post_id": row.post.post_id,
                    "score": row.score,
                    "author_id": row.post.author_id,
                    "created_ms": row.post.created_ms,
                    "decision": row.post.decision,
                    "signals": {
                        name: signal.value
                        for name in (*self.scored, *self.gates)
                        if (signal := row.post.signal(name)) is not None
                    },
                }
                for row in self.rows
            ],
        }


def read_feed_table(reader: FeedReader, feed: str, top: int, arm: str = "") -> FeedTable | None:
    """Read the first `top` posts of a feed; None if there is no such feed.

    Raises `redis.RedisError` if Redis cannot be used.
    """
    snapshot = reader.feed(feed, top, arm)
    if snapshot is None:
        return None
    post_ids = [post_id for post_id, _ in snapshot.ranking]
    try:
        posts = reader.posts(post_ids) if post_ids else []
    except redis.exceptions.NoPermissionError:  # a frontend's account may read only `feed:*`
        posts = [PostSnapshot(post_id, {}) for post_id in post_ids]
    rows = (
        FeedRow(rank, score, post)
        for rank, ((_, score), post) in enumerate(zip(snapshot.ranking, posts, strict=True), 1)
    )
    return FeedTable(snapshot, tuple(rows), now_ms())


class RankChanges:
    """How far each post has risen or fallen since the table of `over_s` seconds ago."""

    def __init__(self, over_s: float = 3.0) -> None:
        self._over_s = over_s
        self._past: deque[tuple[float, Mapping[str, int]]] = deque()

    def update(self, table: FeedTable, now_s: float) -> dict[str, int | None]:
        """By post id the ranks gained, negative for ranks lost, None for a new post."""
        ranks = {row.post.post_id: row.rank for row in table.rows}
        while len(self._past) > 1 and self._past[1][0] <= now_s - self._over_s:
            self._past.popleft()
        before = self._past[0][1] if self._past else ranks
        self._past.append((now_s, ranks))
        return {
            post_id: before[post_id] - rank if post_id in before else None
            for post_id, rank in ranks.items()
        }


def signal_columns(
    scored: Iterable[str], gates: Sequence[str], value_of: Callable[[Any, str], float | None]
) -> dict[str, Callable[[Any], str]]:
    """Return columns of objectives and costs, and one of all gates, by the signals of a row."""

    def cell(names: Sequence[str], digits: int, row: Any) -> str:
        return "/".join(number_text(value_of(row, name), digits) for name in names)

    columns = {f"{name}>": partial(cell, [name], 4) for name in scored}
    return {**columns, f"{'/'.join(gates)}>": partial(cell, gates, 2)}


def plain_feed_table(feed_table: FeedTable) -> str:
    """The feed as plain text; scripts look for its first line, `<feed> version <n>`."""
    columns: Columns = {
        "rank>": "rank",
        "score>": "score:.6f",
        "post": lambda row: row.post.post_id,
        "age>": feed_table.age_of,
        "author": lambda row: row.post.author_id,
        "decision": lambda row: row.post.decision,
        **feed_table.signal_columns,
    }
    snapshot = feed_table.snapshot
    costs = "".join(f", cost of {name} {cost:g}" for name, cost in snapshot.weights.costs.items())
    return (
        f"{snapshot.name} version {snapshot.version}\n{feed_table.weights}{costs}, config offset"
        f" {snapshot.config_offset}, {feed_table.size} posts, {feed_table.freshness}\n"
        + plain_table(*table_of(feed_table.rows, columns))
    )


def live_feed_table(
    feed_table: FeedTable, rank_changes: Mapping[str, int | None], width: int
) -> Group:
    """The feed as a table for a terminal of this width: the columns that fit, from the left.

    Ids are whole: a longer one than the terminal goes on below.  `rank_changes` are as
    `RankChanges.update` returns them.
    """
    state = _STATE_STYLES[feed_table.state]
    title = (
        f"[bold]{escape(feed_table.snapshot.name)}[/]  {escape(feed_table.weights)}  "
        f"{feed_table.size} posts  [{state}]{escape(feed_table.freshness)}[/]"
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    changes = [rank_changes.get(row.post.post_id, 0) for row in feed_table.rows]
    rows = [*map(partial(_live_cells, feed_table), feed_table.rows, changes)]
    for column in _live_cells(feed_table, FeedRow(0, 0.0, PostSnapshot("", {})), 0):
        name = column.removesuffix(">")
        cells = (name, *(Text.from_markup(row[column]).plain for row in rows))
        width -= max(map(cell_len, cells))
        if width < 0 and name not in ("rank", "", "age", "post"):
            break
        width -= 2
        right = column.endswith(">")
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=name != "post",
            overflow="fold",
        )
    for row, change in zip(rows, changes, strict=True):
        style = "bold" if change is None or change > 0 else ""
        table.add_row(*islice(row.values(), len(table.columns)), style=style)
    return Group(Text.from_markup(title), table)


def _live_cells(feed_table: FeedTable, row: FeedRow, rank_change: int | None) -> dict[str, str]:
    """By column the cell of a post, those first that are shown wherever they fit."""
    decision, weights = row.post.decision, feed_table.snapshot.weights
    objectives = [name for name in feed_table.scored if name in weights.objectives]
    cells = {title: cell(row) for title, cell in feed_table.signal_columns.items()}
    return {
        "rank>": str(row.rank),
        ">": _arrow(rank_change),
        "age>": feed_table.age_of(row),
        "post": escape(row.post.post_id),
        "author": escape(row.post.author_id),
        **{f"{name}>": cells.pop(f"{name}>") for name in objectives},
        "score>": f"{row.score:.4f}",
        "decision": f"[{_STYLES.get(decision, 'white')}]{escape(decision)}[/]",
        **cells,
    }


def _arrow(rank_change: int | None) -> str:
    if rank_change is None:
        return "[cyan]new[/]"
    if not rank_change:
        return "[dim]·[/]"
    return f"[green]▲{rank_change}[/]" if rank_change > 0 else f"[red]▼{-rank_change}[/]"
