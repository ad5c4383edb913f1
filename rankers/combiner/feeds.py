"""Which posts are in which feed, kept up to date as posts come, change and age."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from feedmill.events.feeds import FEED_PATTERNS, FeedSpec, pattern_of
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.columns import NO_POST
from feedmill.rankers.combiner.mapped_column import MappedColumn
from feedmill.rankers.combiner.post_group import PostGroup
from feedmill.rankers.combiner.view import PostView
from feedmill.rankers.score import HOUR_MS

Rows = npt.NDArray[np.int32]
_NOT_PLACED = -1


class FeedMembers:
    """The rows of the posts in one feed, in no order."""

    def __init__(self, name: str, spec: FeedSpec) -> None:
        self.name = name
        self.spec = spec
        self.oldest_ms: float = np.inf
        self._rows: Rows = np.empty(64, np.int32)
        self._count = 0

    @property
    def rows(self) -> Rows:
        """A view, shape (n,), valid until the next change."""
        return self._rows[: self._count]

    def add(self, row: int, created_ms: int) -> None:
        """Add a row that is not a member yet."""
        if self._count == len(self._rows):
            self._rows = np.resize(self._rows, max(64, self._count * 2))
        self._rows[self._count] = row
        self._count += 1
        self.oldest_ms = min(self.oldest_ms, created_ms)

    def remove(self, row: int) -> None:
        """Remove a row if it is a member."""
        for at in np.flatnonzero(self.rows == row).tolist():
            self._count -= 1
            self._rows[at] = self._rows[self._count]

    def replace(self, rows: Rows, created_ms: npt.NDArray[np.int64]) -> None:
        """Make these the only members."""
        self._rows = np.ascontiguousarray(rows, np.int32)
        self._count = len(rows)
        self.oldest_ms = float(created_ms.min()) if len(rows) else np.inf

    def cutoff_ms(self, now_ms: int) -> int:
        """Posts created before this are out of the window."""
        return now_ms - int(self.spec.window_hours * HOUR_MS)

    def drop_old(self, created_ms: npt.NDArray[np.int64], now_ms: int) -> bool:
        """Remove posts out of the window; `created_ms` is the view's whole column."""
        cutoff = self.cutoff_ms(now_ms)
        if self.oldest_ms >= cutoff:
            return False
        rows = self.rows
        created = created_ms[rows]
        kept = created >= cutoff
        self.replace(rows[kept], created[kept])
        return True


class FeedIndex:
    """All feeds and their members.

    Attributes
    ----------
    feeds
        By name; a feed of a pattern appears with its first post.
    refused
        How often a pattern's `max_feeds` kept a feed from being made.
    """

    def __init__(self, view: PostView, settings: Settings) -> None:
        self.feeds: dict[str, FeedMembers] = {}
        self.refused = 0
        self._view = view
        self._settings = settings
        self._placed_group = MappedColumn(np.int32, _NOT_PLACED)
        self._placed_author = MappedColumn(np.int32, _NOT_PLACED)
        self._placed_ms = MappedColumn(np.int64)
        self._by_group: dict[int, tuple[FeedMembers, ...]] = {}
        self._per_pattern: dict[str, int] = {}
        self.apply(settings, 0)

    def apply(self, settings: Settings, now_ms: int) -> set[str]:
        """Follow new settings; returns the feeds whose members were made anew."""
        if settings.feeds == self._settings.feeds and self.feeds:
            self._settings = settings
            return set()
        self._settings = settings
        self._by_group.clear()
        rebuilt = set()
        self._per_pattern.clear()
        for name in tuple(self.feeds):
            spec = settings.feed_of(name)
            if spec is None:
                del self.feeds[name]
                continue
            if spec != self.feeds[name].spec:
                rebuilt.add(name)
            self._count(name)
        known = set(self.feeds)
        view = self._view
        for number in np.unique(view.post.group[view.post.offset != NO_POST]).tolist():
            self._by_group[number] = tuple(self._match_group(view.groups.values[number]))
        rebuilt.update(name for name in (*settings.named_feeds, *self.feeds) if name not in known)
        for name in rebuilt:
            self._rebuild(name, now_ms)
        return rebuilt

    def place(self, row: int, now_ms: int) -> Iterator[FeedMembers]:
        """Add a post to its feeds, or remove it; yields every feed that it is or was in."""
        view = self._view
        for column in (self._placed_group, self._placed_author, self._placed_ms):
            column.grow(view.capacity)
        group = int(view.post.group[row]) if view.post.offset[row] != NO_POST else _NOT_PLACED
        author, created = int(view.post.author[row]), int(view.post.created_ms[row])
        placed, placed_author = self._placed_group.cells[row], self._placed_author.cells[row]
        same = (placed, placed_author) == (group, author)
        if same and (group == _NOT_PLACED or self._placed_ms.cells[row] == created):
            yield from self._matching(group, author)
            return
        for feed in self._matching(placed, placed_author):
            feed.remove(row)
            yield feed
        for feed in self._matching(group, author):
            if created >= feed.cutoff_ms(now_ms):
                feed.add(row, created)
            yield feed
        self._placed_group.cells[row], self._placed_author.cells[row] = group, author
        self._placed_ms.cells[row] = created

    def forget(self, groups: Iterable[int]) -> None:
        """Drop what is known of these group numbers: they will stand for other groups."""
        for number in groups:
            self._by_group.pop(number, None)

    def drop_old(self, now_ms: int) -> Iterator[FeedMembers]:
        """Remove posts that left a feed's window; yields the feeds that lost some."""
        created_ms = self._view.post.created_ms
        for feed in self.feeds.values():
            if feed.drop_old(created_ms, now_ms):
                yield feed

    def longest_window_ms(self) -> int:
        """The longest window of any feed, or feed that may yet be made, in milliseconds."""
        specs: Iterable[FeedSpec] = [feed.spec for feed in self.feeds.values()]
        patterns = [self._settings.feed_of(name) for name in FEED_PATTERNS]
        hours = [spec.window_hours for spec in (*specs, *patterns) if spec is not None]
        return int(max(hours) * HOUR_MS)

    def _matching(self, group: int, author: int) -> Iterator[FeedMembers]:
        if group == _NOT_PLACED:
            return
        feeds = self._by_group.get(group)
        if feeds is None:
            attributes = self._view.groups.values[group]
            feeds = self._by_group[group] = tuple(self._match_group(attributes))
        for feed in feeds:
            authors = feed.spec.match.authors
            if not authors or self._view.authors[author] in authors:
                yield feed

    def _match_group(self, attributes: PostGroup) -> Iterator[FeedMembers]:
        names = [*self._settings.named_feeds]
        names += [f"community:{name}" for name in attributes.communities]
        names += [] if attributes.lang is None else [f"lang:{attributes.lang}"]
        for name in dict.fromkeys(names):
            spec = self._settings.feed_of(name)
            if spec is not None and _accepts(name, spec, attributes):
                feed = self.feeds.get(name) or self._new(name, spec)
                if feed is not None:
                    yield feed

    def _new(self, name: str, spec: FeedSpec) -> FeedMembers | None:
        pattern = pattern_of(name)
        # A declared feed does not count against `max_feeds`.
        if pattern is not None and name not in self._settings.feeds:
            general = self._settings.feeds.get(pattern)
            limit = (general or FeedSpec()).feed_limit
            if self._per_pattern.get(pattern, 0) >= limit:
                self.refused += 1
                return None
        feed = self.feeds[name] = FeedMembers(name, spec)
        self._count(name)
        return feed

    def _count(self, name: str) -> None:
        pattern = pattern_of(name)
        if pattern is not None and name not in self._settings.feeds:
            self._per_pattern[pattern] = self._per_pattern.get(pattern, 0) + 1

    def _rebuild(self, name: str, now_ms: int) -> None:
        spec = self._settings.feed_of(name)
        if spec is None:
            return
        feed = self.feeds.get(name) or self._new(name, spec)
        if feed is None:
            return
        feed.spec = spec
        view = self._view
        groups = view.groups.values
        accepts = [group is not None and _accepts(name, spec, group) for group in groups]
        accepted = np.array([*accepts, False], bool)  # number -1, no group, reads the last
        number = view.post.group
        member = (view.post.offset != NO_POST) & accepted[number]
        member &= view.post.created_ms >= feed.cutoff_ms(now_ms)
        if spec.match.authors:
            known = [view.authors.find(author) for author in spec.match.authors]
            member &= np.isin(view.post.author, [n for n in known if n is not None])
        rows = np.flatnonzero(member).astype(np.int32)
        feed.replace(rows, view.post.created_ms[rows])


def _accepts(name: str, spec: FeedSpec, group: PostGroup) -> bool:
    """Whether a feed takes posts of a group, whoever their authors are."""
    if group.is_reply and not spec.include_replies:
        return False
    kind, colon, value = name.partition(":")
    if colon:
        return value in group.communities if kind == "community" else value == group.lang
    match = spec.match
    return (not match.communities or not set(match.communities).isdisjoint(group.communities)) and (
        not match.langs or group.lang in match.langs
    )
