"""The combiner: all posts and signals, the feeds they make, and what Redis does not show yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.changes import FeedChange, SignalsChange
from feedmill.rankers.combiner.columns import NO_POST
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feeds import FeedIndex
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.gating import DECISIONS, SHOW
from feedmill.rankers.combiner.mapped_column import MappedColumn
from feedmill.rankers.combiner.policy_cache import PolicyCache
from feedmill.rankers.combiner.signal_fields import signal_fields
from feedmill.rankers.combiner.view import POST_CHANGED, PostView


class Combiner:
    """Turns posts, signals, overrides and settings into feeds.

    One reader calls `view.update_…` and `apply` between cycles; one writer calls
    `cycle` and writes what it returns, or calls `rewrite` if it could not.  None of
    it blocks; memory is bounded by the posts of the longest window.
    """

    def __init__(self, names: SignalNames, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(names)
        self.view = PostView(names)
        self.index = FeedIndex(self.view, self.settings)
        self._policies = PolicyCache(self.view)
        self._rankings: dict[str, FeedRanking] = {}
        self._dirty: set[str] = set(self.index.feeds)
        self._unwritten: dict[int, int] = {}  # masks of `PostView.changed`, by row
        self._removed: list[str] = []
        # Deleted posts, and when Redis drops their keys by itself: until then it may show them.
        self._deleted: dict[str, int] = {}
        self._deleted_kept = 0
        self._retired: set[str] = set()  # feeds whose setting was removed: written empty
        self._written = MappedColumn(np.bool_)  # by row: Redis has all fields of the post
        self._last_tick_ms = 0
        self._default_decisions(0)

    @property
    def feeds(self) -> tuple[str, ...]:
        """The names of all feeds that exist."""
        return tuple(self.index.feeds)

    def apply(self, settings: Settings, now_ms: int) -> None:
        """Follow new settings; the next cycle has all that changes by them."""
        self._follow_view(now_ms)
        before, self.settings = self.settings, settings
        existed = set(self.index.feeds)
        rebuilt = self.index.apply(settings, now_ms)
        self._dirty |= rebuilt
        self._retire(existed.difference(self.index.feeds))
        for name, ranking in self._rankings.items():
            scores = self._policies.scores(settings, name, now_ms)
            if scores is not ranking.scores or name in rebuilt:
                ranking.scores = scores
                ranking.whole = True
                self._dirty.add(name)
        if before.gates_of("") != settings.gates_of(""):
            self._follow_default_gates(before.gates_of(""), now_ms)
        if before.feeds != settings.feeds:
            self.view.touch(self.view.live_rows())
        in_use = (ranking.scores for ranking in self._rankings.values())
        self._policies.keep(in_use, self._default_decisions(now_ms))

    def tick(self, now_ms: int) -> None:
        """Follow the clock: windows, expiring overrides, the grace of open gates.

        Called about once a second.
        """
        self._follow_view(now_ms)
        self._dirty.update(members.name for members in self.index.drop_old(now_ms))
        for key in tuple(self.view.overrides.expired(self._last_tick_ms, now_ms)):
            self.view.touch(self.view.rows_about(key))
        for decisions in self._policies.all_decisions():
            if decisions.has_open_gate:
                self.view.touch(decisions.grace_ended(self._last_tick_ms, now_ms))
        old = self.view.expired(now_ms - self.index.longest_window_ms())
        if len(old):
            self.view.free(old)
        self._follow_view(now_ms)
        self.index.forget(self.view.prune())
        if len(self._deleted) > 2 * self._deleted_kept + 1024:
            self._deleted = {post: at for post, at in self._deleted.items() if at > now_ms}
            self._deleted_kept = len(self._deleted)
        self._last_tick_ms = now_ms

    def cycle(
        self, now_ms: int, owns: Callable[[str], bool] = lambda _: True
    ) -> tuple[list[SignalsChange], list[FeedChange]]:
        """Return what Redis does not show yet; from here on it counts as written.

        Parameters
        ----------
        now_ms
            Unix milliseconds.
        owns
            Whether this instance writes a feed of this name, or the signals of a post.
        """
        self._follow_view(now_ms)
        signals = [SignalsChange(post, 0, whole=True) for post in self._removed if owns(post)]
        unwritten, self._unwritten = self._unwritten, {}
        self._removed = []
        gates, window_ms = self.settings.gates_of(""), self.index.longest_window_ms()
        for row, mask in unwritten.items():
            if owns(self.view.ids[row]):
                signals.append(self._signals_change(row, mask, gates, window_ms, now_ms))
        changes = []
        for name in [name for name in self._dirty if owns(name)]:
            self._dirty.discard(name)
            change = self._feed_change(name, now_ms)
            if change is not None:
                changes.append(change)
        return signals, changes

    def rewrite(self, feeds: Iterable[str], post_ids: Iterable[str] = ()) -> None:
        """Forget what was written of these feeds and posts: the next cycle has them whole."""
        for name in feeds:
            if name in self.index.feeds or name in self._retired:
                self._dirty.add(name)
            if name in self._rankings:
                self._rankings[name].whole = True
        for post_id in post_ids:
            row = self.view.row_of(post_id)
            if row is not None and row < len(self._written):
                self._written.values[row] = False
                self.view.touch([row])

    def rewrite_all(self) -> None:
        """Forget all that was written: Redis was flushed, or it is not known what it shows."""
        self._written.values[:] = False
        self._removed = list(self._deleted)
        self.rewrite((*self.index.feeds, *self._retired))
        self.view.touch(self.view.live_rows())

    def renewals(self, owns: Callable[[str], bool] = lambda _: True) -> list[FeedChange]:
        """A change without entries for every feed: it renews the feed, if Redis still has it."""
        rankings = [ranking for name, ranking in self._rankings.items() if owns(name)]
        renewals = (ranking.renewal(self.settings.offset) for ranking in rankings)
        return [renewal for renewal in renewals if renewal is not None]

    def decisions(self, now_ms: int) -> dict[str, int]:
        """How many posts have each decision under the default gates."""
        codes = self._default_decisions(now_ms).code
        counts = np.bincount(codes, minlength=len(DECISIONS)).tolist()
        return dict(zip(DECISIONS[:-1], counts, strict=False))

    def _follow_view(self, now_ms: int) -> None:
        """Bring decisions, scores, members and what is to be written up to date with the view."""
        if not self.view.has_changes:
            return
        rows, masks = self.view.take_changed()
        self._policies.update(rows, now_ms)
        self._written.grow(self.view.capacity)
        freed = []
        for row, mask in zip(rows.tolist(), masks.tolist(), strict=True):
            self._place(row, now_ms)
            if self.view.is_freed(row):
                freed.append(row)
                self._remove(row, now_ms)
                self._unwritten.pop(row, None)
                self._written.values[row] = False
            elif self.view.post.offset[row] != NO_POST:
                self._unwritten[row] = self._unwritten.get(row, 0) | mask
        self.view.recycle(freed)

    def _remove(self, row: int, now_ms: int) -> None:
        post_id = self.view.ids[row]
        self._removed.append(post_id)
        gone_ms = int(self.view.post.created_ms[row]) + self.index.longest_window_ms()
        if gone_ms > now_ms:
            self._deleted[post_id] = gone_ms

    def _retire(self, feeds: Iterable[str]) -> None:
        """Have these feeds, whose settings are gone, written empty: nothing updates them now."""
        self._retired.update(feeds)
        self._retired.difference_update(self.index.feeds)
        self._dirty |= self._retired
        for name in self._retired:
            self._rankings.pop(name, None)

    def _place(self, row: int, now_ms: int) -> None:
        post_id = self.view.ids[row]
        for members in self.index.place(row, now_ms):
            name = members.name
            if name not in self._dirty:
                ranking = self._rankings.get(name)
                if ranking is None or ranking.concerns(post_id, row):
                    self._dirty.add(name)

    def _feed_change(self, name: str, now_ms: int) -> FeedChange | None:
        if name in self._retired:
            weights, gates = self.settings.weights_of(name), self.settings.gates_of(name)
            offset = self.settings.offset
            return FeedChange(name, True, (), (), 0, weights, gates, offset)
        if name not in self.index.feeds:
            return None
        return self._ranking(name, now_ms).change(self.view, self.settings.offset)

    def _ranking(self, name: str, now_ms: int) -> FeedRanking:
        members = self.index.feeds[name]
        ranking = self._rankings.get(name)
        if ranking is None:
            scores = self._policies.scores(self.settings, name, now_ms)
            ranking = self._rankings[name] = FeedRanking(members, scores)
        ranking.members = members
        return ranking

    def _signals_change(
        self, row: int, mask: int, gates: Mapping[str, GatePolicy], window_ms: int, now_ms: int
    ) -> SignalsChange:
        # A new version is written whole: what a signal's field leaves out is the post's own.
        whole = bool(mask & POST_CHANGED) or not self._written.values[row]
        self._written.values[row] = True
        fields = signal_fields(self.view, row, -1 if whole else mask, gates, now_ms)
        if whole:
            fields = {name: value for name, value in fields.items() if value}
        expires_at_ms = int(self.view.post.created_ms[row]) + window_ms
        post_offset = int(self.view.post.offset[row])
        return SignalsChange(self.view.ids[row], expires_at_ms, whole, fields, post_offset)

    def _default_decisions(self, now_ms: int) -> GateDecisions:
        return self._policies.decisions(self.settings.gates_of(""), now_ms)

    def _follow_default_gates(self, before: Mapping[str, GatePolicy], now_ms: int) -> None:
        """Have the decision written again of every post that is, or was, not simply shown."""
        old = self._policies.decisions(before, now_ms).code
        new = self._default_decisions(now_ms).code
        rows = self.view.live_rows()
        self.view.touch(rows[(old[rows] != SHOW) | (new[rows] != SHOW)])
