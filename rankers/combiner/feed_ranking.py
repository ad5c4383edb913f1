"""The ranking of one feed, and what was last handed out of it to be written."""

from __future__ import annotations

import numpy as np

from feedmill.rankers.combiner.changes import FeedChange
from feedmill.rankers.combiner.feed_scores import FeedScores
from feedmill.rankers.combiner.feeds import FeedMembers
from feedmill.rankers.combiner.top import top
from feedmill.rankers.combiner.view import PostView


class FeedRanking:
    """One feed's members, ranked by its scores.

    Attributes
    ----------
    written
        The stored feed as last handed out: score by post id, best first.
    whole
        Whether the next change must be whole, because it is not known what Redis shows.
    """

    def __init__(self, members: FeedMembers, scores: FeedScores) -> None:
        self.members = members
        self.scores = scores
        self.written: dict[str, float] = {}
        self.whole = True
        self._least = -np.inf

    def concerns(self, post_id: str, row: int) -> bool:
        """Whether a change of this member may change the stored feed."""
        return post_id in self.written or bool(self.scores.score[row] >= self._least)

    def change(self, view: PostView, config_offset: int) -> FeedChange | None:
        """Rank anew; what changed since the last call, or None if nothing did."""
        before, self.written = self.written, self._rank(view)
        whole, self.whole = self.whole, False
        now = self.written
        if whole:
            return self._feed_change(config_offset, list(now.items()), whole=True)
        moved = [(post, score) for post, score in now.items() if before.get(post) != score]
        removed = [post for post in before if post not in now]
        if not moved and not removed:
            return None
        return self._feed_change(config_offset, moved, removed)

    def renewal(self, config_offset: int) -> FeedChange | None:
        """A change without entries, to renew the feed; None while a whole one is due."""
        return None if self.whole else self._feed_change(config_offset, [])

    def _feed_change(
        self,
        config_offset: int,
        entries: list[tuple[str, float]],
        removed: list[str] | None = None,
        *,
        whole: bool = False,
    ) -> FeedChange:
        return FeedChange(
            feed=self.members.name,
            whole=whole,
            entries=entries,
            removed=removed or [],
            size=len(self.written),
            weights=self.scores.weights,
            gates=self.scores.gates.gates,
            config_offset=config_offset,
        )

    def _rank(self, view: PostView) -> dict[str, float]:
        rows, size = self.members.rows, self.members.spec.size
        best, scores = top(
            self.scores.score[rows],
            rows,
            view.ids,
            view.post.author,
            size,
            self.scores.weights.max_per_author,
        )
        # Nothing scored below the last of a full feed can enter it; a feed with room takes all.
        self._least = float(scores[-1]) if len(scores) == size else np.nextafter(-np.inf, 0)
        ids = view.ids
        return dict(zip([ids[row] for row in best.tolist()], scores.tolist(), strict=True))
