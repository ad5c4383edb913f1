"""A feed as a table: what stands where, why, and how it moved."""

from __future__ import annotations

import time
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

_WORDS = {objective: word for word, objective in OBJECTIVE_ALIASES.items()}
_STYLES = {"show": "green", "demote": "yellow", "hide": "red", "hold": "magenta"}
_STATE_STYLES = {"fresh": "green", "starting": "yellow", "stale": "bold red"}


@dataclass(frozen=True)
class FeedRow:
    """One line of a feed."""

    rank: int
    score: float
    post: PostSnapshot

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        signals = {name: self.post.signal(name) for name in names}
        return {
            "rank": self.rank,
            "post_id": self.post.post_id,
            "score": self.score,
            "author_id": self.post.author_id,
            "created_ms": self.post.created_ms,
            "decision": self.post.decision,
            "signals": {name: s.value for name, s in signals.items() if s is not None},
        }


@dataclass(frozen=True)
class FeedTable:
    """The top of a feed at one version, with what is known of its posts."""

    shown: FeedSnapshot
    rows: tuple[FeedRow, ...]
    at_ms: int

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(self.shown.weights.objectives)

    @property
    def gates(self) -> tuple[str, ...]:
        return tuple(self.shown.gates)

    @property
    def state(self) -> State:
        return self.shown.state(self.at_ms)

    @property
    def title(self) -> str:
        """`<feed> version <n>`, as scripts look for it."""
        return f"{self.shown.feed} version {self.shown.version}"

    @property
    def subtitle(self) -> str:
        weights = self.shown.weights.objectives
        said = [f"{_WORDS.get(name, name)} {weight:g}" for name, weight in weights.items()]
        size = self.shown.info.get("size", "?")
        return f"{', '.join(said)}, config offset {self.shown.config_offset}, {size} posts"

    @property
    def freshness(self) -> str:
        left_s = self.shown.fresh_for_ms(self.at_ms) / 1000
        owned_s = max(self.shown.owned_for_ms(self.at_ms), 0) / 1000
        said: dict[State, str] = {
            "fresh": f"fresh for {left_s:.0f} s",
            "starting": f"starting for {owned_s:.0f} s: not every stage has reported yet",
            "stale": f"STALE for {-left_s:.0f} s: a stage is dead or behind",
        }
        return said[self.state]

    def as_dict(self) -> dict[str, Any]:
        info = self.shown.info
        return {
            "feed": self.shown.feed,
            "version": self.shown.version,
            "config_offset": self.shown.config_offset,
            "weights": self.shown.weights.as_dict(),
            "size": int(info.get("size", "0")),
            "written_at_ms": int(info.get("written_at_ms", "0")),
            "fresh_until_ms": int(info.get("fresh_until_ms", "0")),
            "fresh": self.state == "fresh",
            "state": self.state,
            "posts": [row.as_dict(self.objectives + self.gates) for row in self.rows],
        }


def read_feed_table(shown: FeedReader, feed: str, top: int) -> FeedTable | None:
    """Take the top of a feed and what is known of its posts; None: there is no such feed."""
    found = shown.feed(feed, top)
    if found is None:
        return None
    ids = [post_id for post_id, _ in found.ranking]
    try:
        posts = shown.posts(ids) if ids else []
    except redis.exceptions.NoPermissionError:  # a frontend's account: `feed:*` alone
        posts = [PostSnapshot(post_id, {}) for post_id in ids]
    rows = (
        FeedRow(rank, score, post)
        for rank, ((_, score), post) in enumerate(zip(found.ranking, posts, strict=True), 1)
    )
    return FeedTable(found, tuple(rows), int(time.time() * 1000))


class RankChanges:
    """How far each post has risen or fallen since the table of a few seconds ago."""

    def __init__(self, over_s: float = 3.0) -> None:
        self._over_s = over_s
        self._past: deque[tuple[float, Mapping[str, int]]] = deque()

    def update(self, slate: FeedTable, now_s: float) -> dict[str, int | None]:
        """By post id the places won, negative for lost ones, None for a post that is new."""
        ranks = {row.post.post_id: row.rank for row in slate.rows}
        while len(self._past) > 1 and self._past[1][0] <= now_s - self._over_s:
            self._past.popleft()
        before = self._past[0][1] if self._past else ranks
        self._past.append((now_s, ranks))
        return {
            post_id: before[post_id] - rank if post_id in before else None
            for post_id, rank in ranks.items()
        }


def plain_feed_table(slate: FeedTable) -> str:
    """The feed as plain text, `<feed> version <n>` first."""
    columns = ("rank>", "score>", "post", "age>", "author", "decision", *_signal_columns(slate))
    rows = [
        (
            str(row.rank),
            f"{row.score:.6f}",
            row.post.post_id,
            age_text(slate.at_ms - row.post.created_ms) if row.post.known else "",
            row.post.author_id,
            row.post.decision,
            *_signal_cells(slate, row),
        )
        for row in slate.rows
    ]
    return "\n".join(
        (slate.title, f"{slate.subtitle}, {slate.freshness}", plain_table(columns, rows), "")
    )


def live_feed_table(slate: FeedTable, moves: Mapping[str, int | None]) -> Table:
    """The feed as a table for a terminal, with what rose and fell."""
    style = _STATE_STYLES[slate.state]
    table = Table(
        title=f"[bold]{escape(slate.title)}[/]  {escape(slate.subtitle)}  "
        f"[{style}]{escape(slate.freshness)}[/]",
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
    for name in _signal_columns(slate):
        table.add_column(name.removesuffix(">"), justify="right", no_wrap=True)
    for row in slate.rows:
        _add(table, slate, row, moves.get(row.post.post_id, 0))
    return table


def _add(table: Table, slate: FeedTable, row: FeedRow, moved: int | None) -> None:
    decision = row.post.decision
    table.add_row(
        str(row.rank),
        _arrow(moved),
        f"{row.score:.4f}",
        escape(_shortened(row.post.post_id)),
        age_text(slate.at_ms - row.post.created_ms) if row.post.known else "",
        escape(row.post.author_id),
        f"[{_STYLES.get(decision, 'white')}]{escape(decision)}[/]",
        *_signal_cells(slate, row),
        style="bold" if moved is None or moved > 0 else "",
    )


def _shortened(post_id: str, most: int = 28) -> str:
    """An id without its middle: uris of one network begin alike and differ at their end."""
    return post_id if len(post_id) <= most else f"{post_id[:8]}…{post_id[9 - most :]}"


def _arrow(moved: int | None) -> str:
    if moved is None:
        return "[cyan]new[/]"
    if not moved:
        return "[dim]·[/]"
    return f"[green]▲{moved}[/]" if moved > 0 else f"[red]▼{-moved}[/]"


def _signal_columns(slate: FeedTable) -> tuple[str, ...]:
    gates = "/".join(slate.gates)
    return (*(f"{name}>" for name in slate.objectives), f"{gates}>")


def _signal_cells(slate: FeedTable, row: FeedRow) -> tuple[str, ...]:
    objectives = (_value(row.post, name, 4) for name in slate.objectives)
    return (*objectives, "/".join(_value(row.post, name, 2) for name in slate.gates))


def _value(post: PostSnapshot, name: str, digits: int) -> str:
    signal = post.signal(name)
    return "-" if signal is None or signal.value is None else f"{signal.value:.{digits}f}"


def age_text(age_ms: int) -> str:
    """An age in its largest unit: 12 s, 5 m, 3 h, 2 d."""
    seconds = max(age_ms, 0) // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
