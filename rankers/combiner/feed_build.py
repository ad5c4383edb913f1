"""New rankings for some feeds, made in slices over all posts while the old ones go on."""

from __future__ import annotations

from collections.abc import Generator, Iterator

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
_FOUND_KEYS = 512
_FILLED_ROWS = 64


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
        post_rows, authors = yield from self._overridden()
        post = self._view.post
        for start in range(0, self._view.capacity, SLICE_ROWS):
            part = slice(start, start + SLICE_ROWS)
            self._policies.fill(part, self._now_ms)
            yield
            is_overridden = np.isin(post.author[part], authors)
            is_overridden[post_rows[(post_rows >= start) & (post_rows < part.stop)] - start] = True
            yield from self._fill(np.flatnonzero(is_overridden) + start)
            rows = (np.flatnonzero(post.offset[part] != NO_POST) + start).astype(np.int32)
            yield from self._rank(rows)
        self._policies.finish()

    def _overridden(self) -> Generator[None, None, tuple[Rows, Rows]]:
        """The rows of posts, and the numbers of authors, that overrides are about."""
        view = self._view
        rows: list[int] = []
        authors: list[int] = []
        for count, key in enumerate(tuple(view.overrides.all_keys()), 1):
            if count % _FOUND_KEYS == 0:
                yield
            number = (view.ids if key.kind == "post" else view.authors).find(key.id)
            if number is not None:
                (rows if key.kind == "post" else authors).append(number)
        return np.array(rows, np.int32), np.array(authors, np.int32)

    def _fill(self, rows: npt.NDArray[np.intp]) -> Iterator[None]:
        """Decide and score posts with overrides, which is done one by one."""
        for start in range(0, len(rows), _FILLED_ROWS):
            part = rows[start : start + _FILLED_ROWS].astype(np.int32)
            self._policies.fill(part, self._now_ms)
            yield

    def _rank(self, rows: Rows) -> Iterator[None]:
        """Rank posts in their feeds."""
        groups = self._view.post.group[rows]
        for count, group in enumerate(np.unique(groups).tolist(), 1):
            # A group that is new is matched with the feeds, which takes microseconds.
            if count % _MATCHED_GROUPS == 0:
                yield
            self.next.feeds_of(group)
        for name, positions in by_feed(self.next.feeds_of, groups):
            # Posts that became others since the slice began were given to `next` then.
            same = self._view.post.group[rows[positions]] == groups[positions]
            self.next.rank(name, rows[positions[same]], self._now_ms)
            yield
