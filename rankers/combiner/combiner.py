"""The combiner: all posts and signals, the feeds they make, and what Redis does not show yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from feedmill.events.partition import ALL_SHARDS
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.columns import NO_POST, Flags, Rows
from feedmill.rankers.combiner.feed_places import FeedPlaces
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_scores import PolicyCache
from feedmill.rankers.combiner.gate_decisions import SHOW, GateDecisions
from feedmill.rankers.combiner.live_feeds import HasTime, LiveFeeds
from feedmill.rankers.combiner.pending_writes import (
    FeedChange,
    PendingChanges,
    PendingWrites,
    SignalsChange,
)
from feedmill.rankers.combiner.signal_hash import signals_changes
from feedmill.rankers.combiner.view import POST_CHANGED, PostView
from feedmill.tables.mapped_column import MappedColumn

# Rows of a pass over whole columns: a millisecond or two.
_PASSED_ROWS = 1 << 19
_TOUCHED_ROWS = 512
_ENDED_OVERRIDES = 256
# Rows that are ranked at once: each may have to be ranked alone, in several of thousands of feeds.
_RANKED_ROWS = 256
# Where feeds are few, more rows are ranked at once: at most this product of rows and feeds.
_ROWS_BY_FEEDS, _MOST_ROWS = 1 << 17, 2048
# Rows at once while places are short, so that authors are counted, or while feeds are made anew.
_COSTLY_ROWS = 96
# In a restore rows are only decided and scored, which takes less time.
_RESTORED_ROWS = 4096
_TAKEN_ROWS = 96


def is_other(before: npt.NDArray[np.uint8], now: npt.NDArray[np.uint8], part: slice) -> Flags:
    """Return which posts may have another written decision: those not shown before, or not now."""
    flags: Flags = (before[part] != SHOW) | (now[part] != SHOW)
    return flags


def lacking(
    view: PostView, names: Collection[str], before_ms: int
) -> Generator[None, None, Collection[str]]:
    """Return the signals that some post lacks whose record came before that time.

    It looks among some rows, a millisecond or two, each time that it is asked to go on.
    """
    found, post = set[str](), view.post
    for first in range(0, view.capacity if names else 0, _PASSED_ROWS):
        if first:
            yield
        part = slice(first, first + _PASSED_ROWS)
        posts = (post.offset[part] != NO_POST) & (post.arrived_ms[part] < before_ms)
        found |= {n for n in names if (posts & ~view.signals[n].is_current(part)).any()}
    return found


class RowPasses:
    """Passes over all rows, one after the other; true while a pass has parts left.

    A pass is about the rows that exist when it is added: rows that come later count as changed
    anyway.
    """

    def __init__(self, view: PostView, pending: PendingWrites) -> None:
        self._view = view
        self._pending = pending
        self._passes: deque[Iterator[None]] = deque()
        self._grace_ms = 0  # ends of grace were searched for up to this time
        self._is_ending_grace = False

    def __bool__(self) -> bool:
        return bool(self._passes)

    def go_on(self) -> None:
        """Do the next part, a millisecond or two."""
        if next(self._passes[0], self) is self:
            self._passes.popleft()

    def record_groups(self, column: MappedColumn[np.int32]) -> None:
        """Have a column say of which group each post is, -1 where there is no post."""
        self._passes.append(self._record_groups(column))

    def touch_all(self) -> None:
        """Have all posts decided and scored again."""
        self._passes.append(self._touch_all())

    def end_overrides(self, now_ms: int) -> None:
        """Have posts decided again whose overrides ran out, the first of them at once."""
        ended = self._end_overrides(now_ms)
        if next(ended, self) is not self:
            self._passes.append(ended)

    def end_grace(self, decisions: Iterable[GateDecisions], now_ms: int) -> None:
        """Have posts decided again that an open gate held until now, the first of them at once.

        While a search for such posts goes on no other begins: the next search is for all that end
        meanwhile.
        """
        if self._is_ending_grace:
            return
        since_ms, self._grace_ms = self._grace_ms, now_ms
        ended = self._end_grace([d for d in decisions if d.has_open_gate], since_ms, now_ms)
        if next(ended, self) is not self:
            self._passes.append(ended)

    def mark_later(
        self, mask: int | None = None, among: Callable[[slice], Flags] | None = None
    ) -> None:
        """Have all posts, or those of which `among` is true, written again; see `PendingWrites`.

        `among` takes a slice of rows and returns an array of flags of its shape.
        """
        self._pending.grow(self._view.capacity)
        marked = (
            (part, self._is_live(part) if among is None else self._is_live(part) & among(part))
            for part in self._parts(_PASSED_ROWS)
        )
        self._passes.append(self._pending.mark_later(marked, mask))

    def _parts(self, rows_at_once: int) -> Iterator[slice]:
        capacity = self._view.capacity
        starts = range(0, capacity, rows_at_once)
        return (slice(start, min(start + rows_at_once, capacity)) for start in starts)

    def _is_live(self, part: slice) -> Flags:
        is_live: Flags = self._view.post.offset[part] != NO_POST
        return is_live

    def _record_groups(self, column: MappedColumn[np.int32]) -> Iterator[None]:
        for part in self._parts(_PASSED_ROWS):
            column.grow(self._view.capacity)
            column.values[part] = np.where(self._is_live(part), self._view.post.group[part], -1)
            yield

    def _touch_all(self) -> Iterator[None]:
        for part in self._parts(_TOUCHED_ROWS):
            self._view.touch(np.flatnonzero(self._is_live(part)) + part.start)
            yield

    def _end_grace(
        self, of_gates: Sequence[GateDecisions], since_ms: int, now_ms: int
    ) -> Iterator[None]:
        self._is_ending_grace = True
        for decisions in of_gates:
            for part in self._parts(_PASSED_ROWS):
                rows = decisions.grace_ended(part, since_ms, now_ms)
                for first in range(0, len(rows), _TOUCHED_ROWS):
                    self._view.touch(rows[first : first + _TOUCHED_ROWS])
                    yield
                yield
        self._is_ending_grace = False

    def _end_overrides(self, now_ms: int) -> Iterator[None]:
        ended = self._view.overrides.take_expired(now_ms)
        while keys := list(islice(ended, _ENDED_OVERRIDES)):
            for key in keys:
                self._view.touch(self._view.overridden.flag_override(key))
            yield


def always() -> bool:
    """There is time for everything."""
    return True


class Combiner:
    """Turns posts, signals, overrides and settings into feeds.

    One thread calls it: `view.update_…` and `apply` as records come, `rank_changes` after them,
    `work` while there is time, `tick` about once a second.  The caller writes what `take` returns,
    and gives back by `rewrite` what could not be written.  Each call stops soon after `has_time`
    says so; memory is bounded by the posts of the longest window.

    Attributes
    ----------
    settings
        The newest settings; all feeds follow `settings_in_force`.
    shards
        The shards that have feeds here; nothing else is ranked, or taken to be written.
    """

    def __init__(
        self,
        names: SignalNames,
        settings: Settings | None = None,
        shards: AbstractSet[int] = ALL_SHARDS,
    ) -> None:
        self.settings = settings or Settings(names)
        self.shards = shards
        self.view = PostView(names)
        self._policies = PolicyCache(self.view)
        self._pending = PendingWrites(len(names.all) + 1, self.view.ids, shards)
        self._live = LiveFeeds(self._policies, self._pending, self.settings, shards)
        self._policies.finish()  # there are no posts
        self._default = self._live.default
        self._window_ms = self._live.current.matcher.longest_window_ms
        self._kept_ms = self._window_ms  # the longest that any key written so far is kept
        # By row the group under which the post was ranked last, -1 for none.
        self._ranked_group: MappedColumn[np.int32] = MappedColumn(np.int32, fill=-1)
        self._last_tick_ms = 0
        self._is_prune_due = self._is_restoring = False
        # Passes go before the ranking of what follows from them.
        self._passes = RowPasses(self.view, self._pending)

    @property
    def feeds(self) -> tuple[str, ...]:
        """The names of all feeds that exist."""
        return tuple(self._live.current.feeds)

    @property
    def settings_in_force(self) -> Settings:
        """The newest settings that every feed follows."""
        return self._live.current.settings

    @property
    def places(self) -> FeedPlaces:
        """The places of the feeds on demand, as of the last `tick`."""
        return self._live.current.places

    @property
    def has_changes(self) -> bool:
        """Whether `take` would return anything."""
        return self._pending.has_feeds or self._pending.has_posts

    @property
    def has_feed_changes(self) -> bool:
        """Whether some feed is still to be taken, or to be made under the newest settings."""
        is_followed = self.settings_in_force is self.settings and not self._live.is_switching
        return self._pending.has_feeds or not (self.is_complete and is_followed)

    @property
    def is_complete(self) -> bool:
        """Whether there are lists of all shards."""
        return self._live.is_complete

    @property
    def is_rewriting(self) -> bool:
        """Whether many posts are to be written again: feeds go before them."""
        return self._pending.is_sweeping

    @property
    def is_pruning(self) -> bool:
        """Whether `work` has authors and groups to forget that no post has; nobody waits for it."""
        return self._is_prune_due

    def ranking(self, feed: str) -> FeedRanking:
        """The ranking of a feed that exists."""
        return self._live.current.feeds[feed]

    # --- a restore ------------------------------------------------------------------------

    @property
    def is_restoring(self) -> bool:
        """Whether many posts come that are ranked together, once all are there.

        It may be set to False when `rank_changes` has left nothing.
        """
        return self._is_restoring

    @is_restoring.setter
    def is_restoring(self, is_restoring: bool) -> None:
        if self._is_restoring and not is_restoring:
            self._live.make_all()
            self._passes.record_groups(self._ranked_group)
        self._is_restoring = is_restoring
        self.view.deleted_unseen = {} if is_restoring else None

    # --- following what was read ----------------------------------------------------------

    def own(self, shards: AbstractSet[int]) -> None:
        """Rank and write the feeds of these shards alone, and what is true of their posts.

        Of a shard that goes, all that was written is forgotten, and nothing is removed from Redis.
        Of a new shard, `work` makes the feeds, and all is written whole, the feeds first.
        """
        gained, self.shards = shards - self.shards, shards
        self._live.own(shards)
        self._pending.own(shards)
        if gained:
            self._passes.mark_later(among=self._pending.is_among(gained))

    def apply(self, settings: Settings) -> None:
        """Have `work` make the feeds follow new settings."""
        self.settings = settings
        self._live.apply(settings)

    def rank_changes(self, now_ms: int, has_time: HasTime = always) -> bool:
        """Rank what changed in the view; return whether more of it is left."""
        while self.view.has_changes:
            if not self.view.find_overridden(_RANKED_ROWS):
                self._rank_some(now_ms)
            if not has_time():
                break
        return self.view.has_changes

    def rank_deciding(self, now_ms: int, has_time: HasTime = always) -> None:
        """Rank only the rows whose changes may hide, show or delete a post."""
        while (first := self.view.changed.first_count) or self.view.overridden.is_searching:
            if not self.view.find_overridden(_RANKED_ROWS):
                self._rank_some(now_ms, first)
            if not has_time():
                break

    def work(self, now_ms: int, has_time: HasTime = always) -> bool:
        """Do all that is left to do, new settings too; return whether there is more.

        Not to be called in a restore, in which `rank_changes` alone is called.
        """
        while True:
            if self.rank_changes(now_ms, has_time):
                return True
            if self._passes:
                self._passes.go_on()
                if not has_time():
                    return True
                continue
            more = self._live.work(now_ms, has_time)
            self._mark_other_decisions()
            if more:
                return True
            if self._passes:
                continue
            if not self.view.has_expired:
                break
            self._expire(now_ms)
            if not has_time():
                return True
        if self._is_prune_due:
            self._live.forget(self.view.pruning.go_on())
            self._is_prune_due = self.view.pruning.is_running
        return False

    def tick(self, now_ms: int) -> None:
        """Apply the time: windows, overrides that run out, the grace of open gates.

        Called about once a second; `work` does what follows.
        """
        if now_ms < self._last_tick_ms:
            # The broker's clock was set back: what had expired is in force again.
            self.view.overrides.collect_ends()
            self._passes.touch_all()
        self._live.tick(now_ms)
        self._passes.end_overrides(now_ms)
        self._passes.end_grace(self._policies.all_decisions(), now_ms)
        self._expire(now_ms)
        self._is_prune_due = True
        self._pending.tick(now_ms)
        self._last_tick_ms = now_ms

    def _rank_some(self, now_ms: int, most: int = _RESTORED_ROWS) -> None:
        """Bring decisions, scores, rankings and what is to be written up to date with the view."""
        view = self.view
        if view.deleted_unseen:
            # Of a post that came while nobody ranked, Kafka may have kept the deletion alone.
            ends_ms = {i: at + self._kept_ms for i, at in view.deleted_unseen.items()}
            self._pending.remove(np.empty(0, np.int32), ends_ms, now_ms)
            view.deleted_unseen = {}
        if not self._is_restoring:
            most = min(most, _COSTLY_ROWS if self._live.is_costly else self._rows_at_once())
        rows, masks = view.changed.take(most)
        is_judged = (masks & view.deciding) != 0
        judged = rows if is_judged.all() else rows[is_judged]
        are_shown = self._policies.update(rows, judged, now_ms)
        self._ranked_group.grow(view.capacity)
        self._pending.grow(view.capacity)
        before, groups = self._ranked_group.values[rows], view.post.group[rows]
        # In a restore only posts that feeds may hold already are ranked: they may be hidden now.
        noted = before >= 0 if self._is_restoring else np.ones(len(rows), bool)
        # A post that no policy shows, as before its last verdict, is in no list.
        ranked = noted & are_shown
        self._live.update(rows[ranked], before[ranked], groups[ranked], now_ms)
        self._ranked_group.values[rows[noted]] = groups[noted]
        self._pending.mark(rows, masks, before < 0, self._live.default.holds(rows))
        freed = rows[view.freed_among(rows)]
        if len(freed):
            self._remove(freed, now_ms)

    def _rows_at_once(self) -> int:
        """How many rows take some milliseconds to rank."""
        by_feeds = _ROWS_BY_FEEDS // max(1, len(self._live.current.feeds))
        return max(_RANKED_ROWS, min(_MOST_ROWS, by_feeds))

    def _remove(self, rows: Rows, now_ms: int) -> None:
        """Have freed posts removed, and let their rows be used again."""
        ids = [self.view.ids[row] for row in rows.tolist()]
        ends_ms = self.view.post.created_ms[rows] + self._kept_ms
        self._pending.remove(rows, dict(zip(ids, ends_ms.tolist(), strict=True)), now_ms)
        self.view.recycle(rows)

    def _expire(self, now_ms: int) -> None:
        rows = self.view.expired(
            now_ms - self._live.current.matcher.longest_window_ms, _RANKED_ROWS
        )
        self.view.post.count_late(rows, self._live.current.matcher.longest_window_ms)
        self.view.free(rows)

    def _mark_other_decisions(self) -> None:
        """Have posts written again whose default decision, or time to live, is another one now."""
        before, now = self._default, self._live.default
        if now is not before:
            self._default = now
            before.grow()
            now.grow()
            codes = before.code.values, now.code.values
            self._passes.mark_later(POST_CHANGED, lambda part: is_other(*codes, part))
        if self._live.current.matcher.longest_window_ms != self._window_ms:
            self._window_ms = self._live.current.matcher.longest_window_ms
            self._kept_ms = max(self._kept_ms, self._window_ms)
            self._passes.mark_later(POST_CHANGED)

    # --- what is to be written ------------------------------------------------------------

    def take(
        self, now_ms: int, has_time: HasTime = always, *, only_whole: bool = False
    ) -> PendingChanges:
        """Return what Redis does not show yet, feeds first; from here on it counts as written.

        `only_whole` leaves out the feeds that are not replaced as a whole, and the posts that no
        feed of the others shows.
        """
        self._pending.are_feeds_due = not self._live.is_complete
        feeds = self._take_feeds(has_time, only_whole=only_whole)
        removed_feeds = self._pending.take_removed_feeds()
        if only_whole:
            return PendingChanges(self._shown_signals(feeds, now_ms), feeds, removed_feeds)
        # Removed posts that came again meanwhile are written whole instead.
        gone = filter(self._is_gone, self._pending.take_removed())
        signals = [SignalsChange(post_id, 0, whole=True) for post_id in gone]
        while True:
            rows = self._pending.take_rows(_TAKEN_ROWS)
            signals += self._signals_changes(rows, now_ms)
            if len(rows) < _TAKEN_ROWS or not has_time():
                break
        return PendingChanges(signals, feeds, removed_feeds)

    def hold_back(self, holds_back: bool) -> bool:
        """Have new posts taken once they have their verdicts, or half a minute later; or at once.

        Returns whether there is more to take by that.
        """
        return self._pending.hold_back(holds_back)

    def _shown_signals(self, feeds: Iterable[FeedChange], now_ms: int) -> list[SignalsChange]:
        """What to write of the posts of these feeds, unless all feeds go before posts."""
        if self._pending.is_sweeping:
            return []
        self._pending.grow(self.view.capacity)
        taken = [
            row
            for feed in feeds
            for row in self._pending.take_among(self._live.current.feeds[feed.feed].written_rows)
        ]
        return self._signals_changes(taken, now_ms)

    def cycle(self, now_ms: int) -> PendingChanges:
        """Do everything that `work` would do in the end, and take all changes."""
        self.work(now_ms)
        return self.take(now_ms)

    def rewrite(self, feeds: Iterable[str], post_ids: Iterable[str] = ()) -> None:
        """Forget what was written of these feeds and posts: they are taken again, whole."""
        for name in feeds:
            ranking = self._live.current.feeds.get(name)
            if ranking is not None:
                ranking.whole = True
                self._pending.mark_feed(name)
        known = [self.view.row_of(post_id) for post_id in post_ids]
        rows = np.array([row for row in known if row is not None], np.int32)
        rows = rows[self.view.post.offset[rows] != NO_POST]
        self._pending.grow(self.view.capacity)
        self._pending.mark_whole(rows)

    def rewrite_all(self) -> None:
        """Forget all that was written or removed: Redis may hold anything.

        `work` marks the posts.
        """
        self._pending.remove_again()
        self.rewrite(self._live.current.feeds)
        self._pending.drop_queue()
        self._passes.mark_later()

    def renewals(self, feeds: Iterable[str]) -> list[FeedChange]:
        """A change without entries for each feed: it renews the feed, if Redis still has it."""
        offset, live = self.settings_in_force.offset, self._live.current.feeds
        renewals = (live[feed].renewal(offset) for feed in feeds)
        return [renewal for renewal in renewals if renewal is not None]

    def decisions(self) -> dict[str, int]:
        """How many posts have each decision under the default gates."""
        return self._default.counts

    def _take_feeds(self, has_time: HasTime, *, only_whole: bool) -> list[FeedChange]:
        changes = []
        for name in tuple(self._pending.feeds):
            feed = self._live.current.feeds[name]
            if only_whole and not feed.whole:
                continue
            del self._pending.feeds[name]
            change = feed.change(self.settings_in_force.offset)
            if change is not None:
                ended = self.settings_in_force.ended.get(name) if change.whole else None
                changes.append(replace(change, ended=ended) if ended else change)
            if not has_time():
                break
        return changes

    def _is_gone(self, post_id: str) -> bool:
        row = self.view.row_of(post_id)
        return row is None or self.view.post.offset.item(row) == NO_POST

    def _signals_changes(
        self, taken: Iterable[tuple[int, int, bool]], now_ms: int
    ) -> list[SignalsChange]:
        gates, kept_ms = self._live.default.gates, self._live.current.matcher.longest_window_ms
        return signals_changes(self.view, taken, gates, kept_ms, now_ms)
