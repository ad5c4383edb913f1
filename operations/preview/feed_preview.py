"""A feed now and under changed settings: what enters, leaves and moves, and its top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_set import rank_feed
from feedmill.rankers.combiner.gate_decisions import DECISIONS, DecisionName
from feedmill.rankers.combiner.view import PostView

Rows = npt.NDArray[np.int32]


@dataclass(frozen=True)
class FeedSide:
    """A feed under one state of the settings.

    Attributes
    ----------
    weights, gates
        Those in force, the weights as a setting has them.
    posts, authors
        How many the feed has.
    top_authors, top_demoted
        Authors, and demoted posts, among its best `top`.
    top_means
        By objective and cost the mean of its signal among these, of signals that some post has.
    top_age_ms
        Their median age, None without posts.
    """

    weights: Mapping[str, Any]
    gates: Mapping[str, GatePolicy]
    posts: int
    authors: int
    top_authors: int
    top_demoted: int
    top_means: Mapping[str, float]
    top_age_ms: int | None


@dataclass(frozen=True)
class PreviewedPost:
    """A post of the feed, now or under the changed settings.

    Ranks start at 1; rank and score are None where the post is not in the feed.  `signals` has the
    value of every signal that some post has, None where this one has none.
    """

    post_id: str
    author_id: str
    created_ms: int
    rank: int | None
    score: float | None
    decision: DecisionName
    rank_now: int | None
    score_now: float | None
    signals: Mapping[str, float | None]

    @property
    def gained(self) -> int | None:
        """How many ranks it rises, negative where it sinks; None unless it is there both times."""
        if self.rank is None or self.rank_now is None:
            return None
        return self.rank_now - self.rank


@dataclass(frozen=True)
class FeedPreview:
    """What a change of settings would do to a feed, as of `at_ms`.

    Attributes
    ----------
    feed, at_ms, top
        Which feed, when, and how many of its best posts count as its top.
    now, then
        The feed under the present and under the changed settings.
    ranked
        The feed under the changed settings, best first; then the posts that leave it, as they rank
        now.
    """

    feed: str
    at_ms: int
    top: int
    now: FeedSide
    then: FeedSide
    ranked: Sequence[PreviewedPost]

    @property
    def entering(self) -> list[PreviewedPost]:
        return [post for post in self.ranked if post.rank_now is None]

    @property
    def leaving(self) -> list[PreviewedPost]:
        return [post for post in self.ranked if post.rank is None]

    @property
    def moving(self) -> list[PreviewedPost]:
        """The posts that are in the feed both times, at another rank."""
        return [post for post in self.ranked if post.gained]


def preview_feed(
    view: PostView, feed: str, now: Settings, then: Settings, now_ms: int, top: int
) -> FeedPreview:
    """Rank a feed under the present and under changed settings, and compare.

    Both are ranked from all posts of the view, so posts enter that no stored list holds.

    Parameters
    ----------
    view
        Every post, signal and override.
    feed
        A feed that both settings know.
    now, then
        The present and the changed settings.
    now_ms
        Unix milliseconds: windows, graces and expiring overrides.
    top
        How many of the best posts are compared by their signals.
    """
    before, after = (rank_feed(view, one, feed, now_ms) for one in (now, then))
    return FeedPreview(
        feed=feed,
        at_ms=now_ms,
        top=top,
        now=_side(view, before, now_ms, top),
        then=_side(view, after, now_ms, top),
        ranked=_posts(view, before, after),
    )


def _side(view: PostView, ranking: FeedRanking, now_ms: int, top: int) -> FeedSide:
    rows, _ = ranking.list.best()
    authors, best = view.post.author, rows[:top]
    return FeedSide(
        weights=ranking.scores.weights.as_dict(),
        gates=ranking.scores.gates.gates,
        posts=len(rows),
        authors=len(np.unique(authors[rows])),
        top_authors=len(np.unique(authors[best])),
        top_demoted=int((ranking.scores.gates.factor.values[best] < 1).sum()),
        top_means=top_means(view, best, ranking.scores.weights),
        top_age_ms=top_age_ms(view, best, now_ms),
    )


def top_means(view: PostView, rows: Rows, weights: Weights) -> dict[str, float]:
    """Return the mean of each objective and cost that some post has, over these posts."""
    scored = (*view.names.objectives, *view.names.costs) if len(rows) else ()
    values = {n: view.signals[n].value.values[rows] for n in scored if n in view.written}
    return {
        name: float(np.nan_to_num(of, nan=weights.bases.get(name, 0.0)).mean(dtype=float))
        for name, of in values.items()
    }


def top_age_ms(view: PostView, rows: Rows, now_ms: int) -> int | None:
    """Return the median age of these posts, None without any."""
    return int(np.median(now_ms - view.post.created_ms[rows])) if len(rows) else None


def _posts(view: PostView, before: FeedRanking, after: FeedRanking) -> list[PreviewedPost]:
    """All posts of either ranking, see `FeedPreview.ranked`."""
    (old_rows, old_scores), (rows, scores) = before.list.best(), after.list.best()
    old = _places(old_rows, old_scores)
    new = _places(rows, scores)
    code = after.scores.gates.code
    found = []
    for row in [*new, *(row for row in old if row not in new)]:
        rank, score = new.get(row, (None, None))
        rank_now, score_now = old.get(row, (None, None))
        found.append(
            PreviewedPost(
                post_id=view.ids[row],
                author_id=view.author_of(row),
                created_ms=view.post.created_ms.item(row),
                rank=rank,
                score=score,
                decision=DECISIONS[code.cells[row]],
                rank_now=rank_now,
                score_now=score_now,
                signals={name: _value(view, row, name) for name in view.written},
            )
        )
    return found


def _places(rows: Rows, scores: npt.NDArray[np.float64]) -> dict[int, tuple[int, float]]:
    """By row the rank, from 1 on, and the score."""
    pairs = zip(rows.tolist(), scores.tolist(), strict=True)
    return {row: (rank, score) for rank, (row, score) in enumerate(pairs, 1)}


def _value(view: PostView, row: int, name: str) -> float | None:
    signal = view.signal(row, name)
    return None if signal is None else signal.value
