"""One round of continual learning: whether a challenger may start, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.filters.model import FilterModel
from feedmill.training.continual.audit import audited_posts
from feedmill.training.continual.challenger import Champion, OrdinaryPosts, Verdict, challenge
from feedmill.training.continual.rated_posts import RatedPost, rated_posts
from feedmill.training.continual.starts import Starts
from feedmill.training.recipes import Recipe

# So many labels that no challenger has bet on: a start with fewer would mostly be in vain.
MIN_FRESH = 100


class Round(NamedTuple):
    """What a round did.

    Attributes
    ----------
    rows
        The labelled posts of the window.
    audited
        How many posts of the audit there are beside them.
    fresh
        How many of them no challenger had bet on before.
    reason
        Why there is nothing to release; "" if there is.
    verdict
        None if no challenger started.
    """

    rows: Sequence[RatedPost]
    audited: int
    fresh: int
    reason: str
    verdict: Verdict | None = None

    @property
    def raters(self) -> int:
        """How many raters the rows have."""
        return len({rater for row in self.rows for rater in row.raters})


class Learner:
    """Starts a challenger whenever there are enough new labels.

    Parameters
    ----------
    base
        From which every challenger starts.
    recipe
        That of the filter.
    ordinary
        What chooses thresholds, and the reference.
    starts
        How many may start.
    """

    def __init__(
        self, base: FilterModel, recipe: Recipe, ordinary: OrdinaryPosts, starts: Starts
    ) -> None:
        self._base = base
        self._recipe = recipe
        self._ordinary = ordinary
        self._starts = starts
        self._bet_on: set[str] = set()

    def round(
        self, champion: FilterModel, judged: Sequence[tuple[Post, Sequence[Label]]], now_ms: int
    ) -> Round:
        """Let a challenger bet against the champion on what is new; takes seconds."""
        rows, audit = rated_posts(judged), audited_posts(judged)
        self._bet_on &= {row.post.post_id for row in rows}
        known = [row for row in rows if row.post.post_id in self._bet_on]
        fresh = [row for row in rows if row.post.post_id not in self._bet_on]
        if len(fresh) < MIN_FRESH:
            return Round(rows, len(audit), len(fresh), f"fewer than {MIN_FRESH} of them are new")
        if reason := self._starts.begin(now_ms):
            return Round(rows, len(audit), len(fresh), reason)
        self._bet_on = {row.post.post_id for row in rows}
        verdict = challenge(
            Champion(champion, self._base), self._recipe, known, fresh, self._ordinary, audit
        )
        return Round(rows, len(audit), len(fresh), verdict.reason, verdict)
