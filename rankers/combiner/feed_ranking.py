"""The ranking of one feed, and what was last handed out of it to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.feeds import FeedSpec
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.feed_scores import FeedScores
from feedmill.rankers.combiner.pending_writes import FeedChange
from feedmill.rankers.combiner.ranked_list import PostMove, RankedList
from feedmill.rankers.score import HOUR_MS

# Fewer posts are ranked one by one: numpy's calls would be most of a small cycle.
_MANY_FROM = 8


class FeedRanking:
    """One feed under one spec and one weighting; when these change another ranking replaces it.

    Attributes
    ----------
    name, spec, scores
        The feed, what goes into it, and the scores of all posts under its weights and gates.
    whole
        Whether the next change must be whole, because it is not known what Redis shows.
    experiment
        What runs in the feed, as `:info` has it; "" for none.
    """

    experiment = ""

    def __init__(self, name: str, spec: FeedSpec, scores: FeedScores) -> None:
        view = scores.view
        self.name = name
        self.spec = spec
        self.scores = scores
        self.list = RankedList(spec.size, scores.weights.max_per_author, view.ids, view.lookup)
        self.whole = True
        self._window_ms = int(spec.window_hours * HOUR_MS)
        self._view = view
        # An empty set in each of thousands of feeds would cost the garbage collector time.
        self._authors = frozenset(spec.match.authors) if spec.match.authors else None
        self._oldest_ms: float = np.inf  # no post of the list was created before this
        self._written_rows: Rows = np.empty(0, np.int32)
        self._written_scores: npt.NDArray[np.float64] = np.empty(0)
        self._written_gone: tuple[str, ...] = ()  # written posts whose rows were given up

    @property
    def all_scores(self) -> Sequence[FeedScores]:
        """The scores by which its lists are ranked: first its own, then those of arms."""
        return (self.scores,)

    @property
    def is_short(self) -> bool:
        """Whether some list of the feed must be made anew from all posts."""
        return self.list.is_short

    # --- posts come, change and leave -----------------------------------------------------

    def update(self, rows: Rows, now_ms: int) -> bool:
        """Rank these posts, of groups that the feed takes; return whether its list changed."""
        if len(rows) < _MANY_FROM:
            have_moved = [self._update_one(row, now_ms) for row in rows.tolist()]
            return any(have_moved)
        return self._update_many(rows, now_ms)

    def _update_many(self, rows: Rows, now_ms: int) -> bool:
        view, scores = self._view, self.scores.score.values[rows]
        created_ms = view.post.created_ms[rows]
        scores[created_ms < self._cutoff_ms(now_ms)] = -np.inf
        if self._authors:
            scores[~self._is_of_its(self._authors, rows)] = -np.inf
        entering = scores > -np.inf
        if entering.any():
            self._oldest_ms = min(self._oldest_ms, int(created_ms[entering].min()))
        return self.list.update(rows, scores, view.post.author[rows])

    def _update_one(self, row: int, now_ms: int) -> bool:
        """Do what `update` does, for one post."""
        post = self._view.post
        created_ms = post.created_ms.item(row)
        is_others = self._authors and self._view.author_of(row) not in self._authors
        is_out = is_others or created_ms < self._cutoff_ms(now_ms)
        score = -np.inf if is_out else self.scores.score.cells[row]
        if score > -np.inf:
            self._oldest_ms = min(self._oldest_ms, created_ms)
        return self.list.update_one(row, score, post.author.item(row))

    def leave(self, rows: Rows) -> bool:
        """Take out posts that are not of the feed any more; return whether its list changed.

        From now on their rows may stand for other posts.
        """
        for at in self._view.lookup.find(rows, self._written_rows).tolist():
            if at >= 0:
                self._written_gone += (self._view.ids[int(self._written_rows[at])],)
                self._written_rows[at] = -1
        none = np.full(len(rows), -np.inf)
        return self.list.update(rows, none, np.full(len(rows), -1, np.int32))

    def drop_old(self, now_ms: int) -> bool:
        """Take out the posts that left the window; return whether there were any."""
        cutoff_ms = self._cutoff_ms(now_ms)
        if self._oldest_ms >= cutoff_ms:
            return False
        created_ms = self._view.post.created_ms[self.list.rows]
        old = created_ms < cutoff_ms
        self.list.remove(np.flatnonzero(old))
        kept = created_ms[~old]
        self._oldest_ms = int(kept.min()) if len(kept) else np.inf
        return bool(old.any())

    def replace(self, before: FeedRanking) -> None:
        """Go on from what Redis shows of this feed's ranking under other settings."""
        is_same = self.spec == before.spec and self.all_scores == before.all_scores
        is_same = is_same and self.experiment == before.experiment
        self.whole = before.whole or not is_same
        self._written_rows = before._written_rows
        self._written_scores = before._written_scores
        self._written_gone = before._written_gone

    def in_window(self, rows: Rows, now_ms: int) -> npt.NDArray[np.bool_]:
        """For each of these posts whether it is young enough for the feed."""
        return self._view.post.created_ms[rows] >= self._cutoff_ms(now_ms)

    def candidates(self, rows: Rows, now_ms: int) -> Rows:
        """The posts, of groups that the feed takes, that it would show if it had the room."""
        is_candidate = (self.scores.score.values[rows] > -np.inf) & self.in_window(rows, now_ms)
        if self._authors:
            is_candidate &= self._is_of_its(self._authors, rows)
        return rows[is_candidate]

    def _cutoff_ms(self, now_ms: int) -> int:
        return now_ms - self._window_ms

    def _is_of_its(self, authors: frozenset[str], rows: Rows) -> npt.NDArray[np.bool_]:
        view = self._view
        if len(rows) > len(authors):
            known = [view.authors.find(author) for author in authors]
            numbers = [number for number in known if number is not None]
            return np.isin(view.post.author[rows], np.array(numbers, np.int32))
        return np.array([view.author_of(row) in authors for row in rows.tolist()], bool)

    # --- what is written ------------------------------------------------------------------

    @property
    def written(self) -> dict[str, float]:
        """The feed as it was last handed out: score by post id, best first."""
        rows, scores = self._written_rows.tolist(), self._written_scores.tolist()
        ids = self._view.ids
        return {ids[row]: score for row, score in zip(rows, scores, strict=True) if row >= 0}

    @property
    def written_rows(self) -> Rows:
        """The rows of the posts of `written`, -1 for a post that is gone."""
        return self._written_rows

    def change(self, config_offset: int) -> FeedChange | None:
        """Return what changed since the last call, or None if nothing did."""
        move = self.list.take_move()
        rows, scores = self.list.best()
        before, before_scores, gone = self._written_rows, self._written_scores, self._written_gone
        self._written_rows, self._written_scores, self._written_gone = rows.copy(), scores, ()
        whole, self.whole = self.whole, False
        if whole:
            return self._feed_change(config_offset, self._entries(rows, scores), whole=True)
        if move is not None and not gone:
            return self._one_moved(config_offset, move, before)
        position = self._view.lookup.find(rows, before)
        moved = position < 0
        stayed = position[~moved]
        moved[~moved] = before_scores[stayed] != scores[~moved]
        has_left = before >= 0
        has_left[stayed] = False
        left = before[has_left]
        entries = self._entries(rows[moved], scores[moved])
        removed = self._view.ids.read_many(left)
        if gone:
            # A post that was deleted may have come again, in another row.
            entered = {post_id for post_id, _ in entries}
            removed += [post_id for post_id in gone if post_id not in entered]
        if not entries and not removed:
            return None
        return self._feed_change(config_offset, entries, removed)

    def _one_moved(self, config_offset: int, move: PostMove, before: Rows) -> FeedChange | None:
        """Return the change where one post moved and nothing else, as in most changes."""
        size, at = len(self._written_rows), move.to_at
        was_shown, is_shown = 0 <= move.from_at < len(before), 0 <= at < size
        left = before.item(move.from_at) if was_shown else None
        if is_shown and not was_shown and len(before) == size:
            left = before.item(size - 1)  # the last one falls off a full feed
        elif was_shown and not is_shown and len(before) == size:
            at, is_shown = size - 1, True  # the next one follows
        ids, entries = self._view.ids, []
        if is_shown:
            row = self._written_rows.item(at)
            entries = [(ids[row], self._written_scores.item(at))]
            left = None if left == row else left
        elif left is None:
            return None
        return self._feed_change(config_offset, entries, [] if left is None else [ids[left]])

    def renewal(self, config_offset: int) -> FeedChange | None:
        """Return a change without entries, to renew the feed; None while a whole one is due."""
        return None if self.whole else self.no_change(config_offset)

    def no_change(self, config_offset: int) -> FeedChange:
        """Return a change that leaves the list as it is."""
        return self._feed_change(config_offset, [])

    def _entries(self, rows: Rows, scores: npt.NDArray[np.float64]) -> list[tuple[str, float]]:
        return list(zip(self._view.ids.read_many(rows), scores.tolist(), strict=True))

    def _feed_change(
        self,
        config_offset: int,
        entries: list[tuple[str, float]],
        removed: list[str] | None = None,
        *,
        whole: bool = False,
    ) -> FeedChange:
        return FeedChange(
            feed=self.name,
            whole=whole,
            entries=entries,
            removed=removed or [],
            size=len(self._written_rows),
            weights=self.scores.weights,
            gates=self.scores.gates.gates,
            config_offset=config_offset,
        )


class ArmedFeed(FeedRanking):
    """A `FeedRanking`, the control, with the rankings of the other arms of an experiment.

    An arm that is ranked by the very scores of the control, as a copy of it is, has the control's
    list.

    Parameters
    ----------
    experiment
        What `:info` of the feed says of it.
    arms
        The scores of all arms but the control.
    """

    def __init__(
        self,
        name: str,
        spec: FeedSpec,
        scores: FeedScores,
        experiment: str,
        arms: Mapping[str, FeedScores],
    ) -> None:
        super().__init__(name, spec, scores)
        self.experiment = experiment
        self._arms = {
            arm: None if own is scores else FeedRanking(arm, spec, own) for arm, own in arms.items()
        }
        self._others = tuple(arm for arm in self._arms.values() if arm is not None)

    @property
    def all_scores(self) -> Sequence[FeedScores]:
        arms = self._arms.values()
        return (self.scores, *(self.scores if arm is None else arm.scores for arm in arms))

    @property
    def is_short(self) -> bool:
        return super().is_short or any(arm.is_short for arm in self._others)

    def update(self, rows: Rows, now_ms: int) -> bool:
        return self._in_arms(super().update(rows, now_ms), lambda arm: arm.update(rows, now_ms))

    def leave(self, rows: Rows) -> bool:
        return self._in_arms(super().leave(rows), lambda arm: arm.leave(rows))

    def drop_old(self, now_ms: int) -> bool:
        return self._in_arms(super().drop_old(now_ms), lambda arm: arm.drop_old(now_ms))

    def _in_arms(self, has_changed: bool, change: Callable[[FeedRanking], bool]) -> bool:
        """Change the other arms, too; return whether any list changed."""
        for arm in self._others:
            has_changed |= change(arm)
        return has_changed

    def replace(self, before: FeedRanking) -> None:
        super().replace(before)
        if not self.whole and isinstance(before, ArmedFeed):
            for arm, earlier in zip(self._others, before._others, strict=True):
                arm.replace(earlier)

    @property
    def written_rows(self) -> Rows:
        rows = [super().written_rows, *(arm.written_rows for arm in self._others)]
        return np.unique(np.concatenate(rows))

    def change(self, config_offset: int) -> FeedChange | None:
        for arm in self._others:
            arm.whole |= self.whole
        own = super().change(config_offset)
        changed = {arm.name: arm.change(config_offset) for arm in self._others}
        if own is None and not any(changed.values()):
            return None
        lists = {
            arm.name: changed[arm.name] or arm.no_change(config_offset) for arm in self._others
        }
        return self._together(own or self.no_change(config_offset), lists)

    def renewal(self, config_offset: int) -> FeedChange | None:
        own = super().renewal(config_offset)
        if own is None:
            return None
        return self._together(own, {arm.name: arm.no_change(config_offset) for arm in self._others})

    def _together(self, own: FeedChange, others: Mapping[str, FeedChange]) -> FeedChange:
        arms = [others.get(arm) or msgspec.structs.replace(own, feed=arm) for arm in self._arms]
        return msgspec.structs.replace(own, experiment=self.experiment, arms=arms)
