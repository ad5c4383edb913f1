"""The ranking of one feed, and what of it was handed out to be written."""

from __future__ import annotations

import numpy as np

from feedmill.rankers.combiner.changes import FeedChange
from feedmill.rankers.combiner.feed_scores import FeedScores
from feedmill.rankers.combiner.feeds import FeedMembers
from feedmill.rankers.combiner.top import top
from feedmill.rankers.combiner.view import PostView


class FeedRanking:
    """One feed's members seen through its lens.

    Attributes
    ----------
    written
        The stored feed, score by post id, in order, as last handed out.
    whole
        Whether the next change must be whole: it is not known what Redis shows.
    """

    def __init__(self, members: FeedMembers, lens: FeedScores) -> None:
        self.members = members
        self.lens = lens
        self.written: dict[str, float] = {}
        self.whole = True
        self._least = -np.inf

    def concerns(self, post_id: str, row: int) -> bool:
        """Whether a change of this member may change the stored feed."""
        return post_id in self.written or bool(self.lens.score[row] >= self._least)

    def change(self, view: PostView, config_offset: int) -> FeedChange | None:
        """Rank anew; what moved since the last call, or None if nothing did."""
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
        """A change that changes nothing; None while it is not known what Redis shows."""
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
            weights=self.lens.weights,
            gates=self.lens.gates.gates,
            config_offset=config_offset,
        )

    def _rank(self, view: PostView) -> dict[str, float]:
        rows, size = self.members.rows, self.members.spec.size
        best, scores = top(
            self.lens.score[rows],
            rows,
            view.ids,
            view.post.author,
            size,
            self.lens.weights.max_per_author,
        )
        # Below the last of a full feed nothing can enter it; a feed with room takes anything.
        self._least = float(scores[-1]) if len(scores) == size else np.nextafter(-np.inf, 0)
        ids = view.ids
        return dict(zip([ids[row] for row in best.tolist()], scores.tolist(), strict=True))
