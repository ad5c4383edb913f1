"""A feed as a table: posts by rank, with their signals and how their ranks changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import redis
from rich.cells import cell_len
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

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

    @property
    def subtitle(self) -> str:
        costs = self.snapshot.weights.costs.items()
        weights = self.weights + "".join(f", cost of {name} {cost:g}" for name, cost in costs)
        return f"{weights}, config offset {self.snapshot.config_offset}, {self.size} posts"

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
    decision, scored = row.post.decision, feed_table.scored
    objectives = [name for name in scored if name in feed_table.snapshot.weights.objectives]
    costs = [name for name in scored if name not in objectives]
    *_, gates = _signal_cells(feed_table, row)
    return {
        "rank>": str(row.rank),
        ">": _arrow(rank_change),
        "age>": age_text(feed_table.at_ms - row.post.created_ms) if row.post.known else "",
        "post": escape(row.post.post_id),
        "author": escape(row.post.author_id),
        **{f"{name}>": _value(row.post, name, 4) for name in objectives},
        "score>": f"{row.score:.4f}",
        "decision": f"[{_STYLES.get(decision, 'white')}]{escape(decision)}[/]",
        **{f"{name}>": _value(row.post, name, 4) for name in costs},
        _signal_columns(feed_table)[-1]: gates,
    }


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
