"""New rankings for some feeds, made in slices over all posts while the old ones go on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from feedmill.rankers.combiner.columns import NO_POST
from feedmill.rankers.combiner.feed_set import FeedSet, by_feed
from feedmill.rankers.combiner.policy_cache import PolicyCache
from feedmill.rankers.combiner.view import PostView

Rows = npt.NDArray[np.int32]

# Rows of one slice; with more of them the feeds of a slice share more of the work.
SLICE_ROWS = 8192
_MATCHED_GROUPS = 256


class FeedBuild:
    """Goes over all posts once, and fills new decisions, scores and rankings.

    Posts that change meanwhile are given to `next`, whether they were passed or not.

    Attributes
    ----------
    next
        The new rankings, without posts at first; complete once `work` returned False.
    """

    def __init__(self, view: PostView, policies: PolicyCache, feeds: FeedSet) -> None:
        self.next = feeds
        self._view = view
        self._policies = policies
        self._now_ms = 0
        self._parts = self._run()

    def work(self, now_ms: int) -> bool:
        """Do a part that takes about a millisecond; whether there is more."""
        self._now_ms = now_ms
        return next(self._parts, self) is not self

    def _run(self) -> Iterator[None]:
        for start in range(0, self._view.capacity, SLICE_ROWS):
            self._policies.fill(slice(start, start + SLICE_ROWS), self._now_ms)
            offset = self._view.post.offset[start : start + SLICE_ROWS]
            rows = (np.flatnonzero(offset != NO_POST) + start).astype(np.int32)
            groups = self._view.post.group[rows]
            yield
            yield from self._match(groups)
            for name, positions in by_feed(self.next.feeds_of, groups):
                # Posts that became others since the slice began were given to `next` then.
                same = self._view.post.group[rows[positions]] == groups[positions]
                self.next.rank(name, rows[positions[same]], self._now_ms)
                yield
        self._policies.finish()

    def _match(self, groups: Rows) -> Iterator[None]:
        """Match new groups with the feeds, which takes microseconds each."""
        for count, group in enumerate(np.unique(groups).tolist()):
            if count % _MATCHED_GROUPS == _MATCHED_GROUPS - 1:
                yield
            self.next.feeds_of(group)
