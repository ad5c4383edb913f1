"""A feed as a table: posts by rank, with their signals and how their ranks changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from rich.markup import escape
from rich.table import Table

from feedmill.cli.output import plain_table
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.streams.redis.reader import FeedReader, FeedSnapshot, PostSnapshot, State
from feedmill.streams.settings.clock import now_ms

_ALIAS_OF = {objective: alias for alias, objective in OBJECTIVE_ALIASES.items()}
_POST_COLUMNS = ("rank>", "score>", "post", "age>", "author", "decision")
_STYLES = {"show": "green", "demote": "yellow", "hide": "red", "hold": "magenta"}
_STATE_STYLES = {"fresh": "green", "starting": "yellow", "stale": "bold red"}


@dataclass(frozen=True)
class FeedRow:
    """One post of a feed; `rank` starts at 1."""

    rank: int
    score: float
    post: PostSnapshot

    def as_dict(self, signal_names: Sequence[str]) -> dict[str, Any]:
        """The row as `feedmill feed --json` prints it; signals without a record are left out."""
        signals = {name: self.post.signal(name) for name in signal_names}
        return {
            "rank": self.rank,
            "post_id": self.post.post_id,
            "score": self.score,
            "author_id": self.post.author_id,
            "created_ms": self.post.created_ms,
            "decision": self.post.decision,
            "signals": {
                name: signal.value for name, signal in signals.items() if signal is not None
            },
        }


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
    def title(self) -> str:
        """`<feed> version <n>`; scripts look for this line."""
        return f"{self.snapshot.name} version {self.snapshot.version}"

    @property
    def subtitle(self) -> str:
        weights = ", ".join(
            f"{_ALIAS_OF.get(name, name)} {weight:g}"
            for name, weight in self.snapshot.weights.objectives.items()
            if name in self.scored
        )
        costs = self.snapshot.weights.costs.items()
        weights += "".join(f", cost of {name} {cost:g}" for name, cost in costs)
        size = self.snapshot.info.get("size", "?")
        return f"{weights}, config offset {self.snapshot.config_offset}, {size} posts"

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

    def as_dict(self) -> dict[str, Any]:
        """The table as `feedmill feed --json` prints it."""
        info = self.snapshot.info
        return {
            "feed": self.snapshot.feed,
            **({"arm": self.snapshot.arm} if self.snapshot.arm else {}),
            "version": self.snapshot.version,
            "config_offset": self.snapshot.config_offset,
            "weights": self.snapshot.weights.as_dict(),
            "size": int(info.get("size", "0")),
            "written_at_ms": int(info.get("written_at_ms", "0")),
            "fresh_until_ms": int(info.get("fresh_until_ms", "0")),
            "fresh": self.state == "fresh",
            "state": self.state,
            "posts": [row.as_dict(self.scored + self.gates) for row in self.rows],
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


def plain_feed_table(feed_table: FeedTable) -> str:
    """The feed as plain text; its first line is `<feed> version <n>`."""
    columns = (*_POST_COLUMNS, *_signal_columns(feed_table))
    rows = [
        (
            str(row.rank),
            f"{row.score:.6f}",
            row.post.post_id,
            age_text(feed_table.at_ms - row.post.created_ms) if row.post.known else "",
            row.post.author_id,
            row.post.decision,
            *_signal_cells(feed_table, row),
        )
        for row in feed_table.rows
    ]
    heading = f"{feed_table.title}\n{feed_table.subtitle}, {feed_table.freshness}"
    return f"{heading}\n{plain_table(columns, rows)}\n"


def live_feed_table(feed_table: FeedTable, rank_changes: Mapping[str, int | None]) -> Table:
    """The feed as a table for a terminal; `rank_changes` as `RankChanges.update` returns them."""
    style = _STATE_STYLES[feed_table.state]
    table = Table(
        title=f"[bold]{escape(feed_table.title)}[/]  {escape(feed_table.subtitle)}  "
        f"[{style}]{escape(feed_table.freshness)}[/]",
        title_justify="left",
        title_style="",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    for name in ("rank", "", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("post", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("author", no_wrap=True, overflow="ellipsis", max_width=18)
    table.add_column("decision", no_wrap=True)
    for name in _signal_columns(feed_table):
        table.add_column(name.removesuffix(">"), justify="right", no_wrap=True)
    for row in feed_table.rows:
        _add_row(table, feed_table, row, rank_changes.get(row.post.post_id, 0))
    return table


def _add_row(table: Table, feed_table: FeedTable, row: FeedRow, rank_change: int | None) -> None:
    decision = row.post.decision
    table.add_row(
        str(row.rank),
        _arrow(rank_change),
        f"{row.score:.4f}",
        escape(shortened(row.post.post_id)),
        age_text(feed_table.at_ms - row.post.created_ms) if row.post.known else "",
        escape(row.post.author_id),
        f"[{_STYLES.get(decision, 'white')}]{escape(decision)}[/]",
        *_signal_cells(feed_table, row),
        style="bold" if rank_change is None or rank_change > 0 else "",
    )


def shortened(post_id: str, max_length: int = 28) -> str:
    """An id without its middle: the uris of one network differ at their ends."""
    if len(post_id) <= max_length:
        return post_id
    return f"{post_id[:8]}…{post_id[9 - max_length :]}"


def _arrow(rank_change: int | None) -> str:
    if rank_change is None:
        return "[cyan]new[/]"
    if not rank_change:
        return "[dim]·[/]"
    return f"[green]▲{rank_change}[/]" if rank_change > 0 else f"[red]▼{-rank_change}[/]"


def _signal_columns(feed_table: FeedTable) -> tuple[str, ...]:
    gates = "/".join(feed_table.gates)
    return (*(f"{name}>" for name in feed_table.scored), f"{gates}>")


def _signal_cells(feed_table: FeedTable, row: FeedRow) -> tuple[str, ...]:
    scored = (_value(row.post, name, 4) for name in feed_table.scored)
    return (*scored, "/".join(_value(row.post, name, 2) for name in feed_table.gates))


def _value(post: PostSnapshot, name: str, digits: int) -> str:
    value = post.value(name)
    return "-" if value is None else f"{value:.{digits}f}"


def age_text(age_ms: int) -> str:
    """An age in its largest unit: 12 s, 5 m, 3 h, 2 d."""
    seconds = max(age_ms, 0) // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
