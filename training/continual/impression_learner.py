"""One round of continual learning of engagement: may a challenger start, and what came of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.training.continual.impression_bets import users_of
from feedmill.training.continual.impression_challenger import (
    ImpressionVerdict,
    Window,
    challenge_impressions,
)
from feedmill.training.continual.starts import Starts
from feedmill.training.ranker_recipes import EngagementRecipe

# So many impressions that no challenger has bet on: a start with fewer would mostly be in vain.
MIN_FRESH = 1_000


class ImpressionRound(NamedTuple):
    """What a round did.

    Attributes
    ----------
    impressions, users, fresh
        How many impressions the window has, of how many users, and how many of them no challenger
        had bet on before.
    reason
        Why there is nothing to release; "" if there is.
    verdict
        None if no challenger started.
    """

    impressions: int
    users: int
    fresh: int
    reason: str
    verdict: ImpressionVerdict | None = None


class ImpressionLearner:
    """Starts a challenger whenever there are enough new impressions.

    Parameters
    ----------
    recipe
        That of engagement.
    reference
        Impressions that are older than the window.
    wait_ms
        How long after an impression its reactions are known.
    starts
        How many may start.
    """

    def __init__(
        self, recipe: EngagementRecipe, reference: Impressions, wait_ms: int, starts: Starts
    ) -> None:
        self._recipe = recipe
        self._reference = reference
        self._wait_ms = wait_ms
        self._starts = starts
        self._fresh_from_ms = 0

    def round(self, champion: ExpectedClicks, rows: Impressions, now_ms: int) -> ImpressionRound:
        """Let a challenger bet against the champion on what is new; takes seconds to minutes.

        `rows` are the impressions of the window whose reactions are all known.
        """
        fresh = int((rows.at_ms >= self._fresh_from_ms).sum())
        sizes = len(rows), len(np.unique(users_of(rows))), fresh
        if fresh < MIN_FRESH:
            return ImpressionRound(*sizes, f"fewer than {MIN_FRESH:,} of them are new")
        if reason := self._starts.begin(now_ms):
            return ImpressionRound(*sizes, reason)
        window = Window(rows, self._fresh_from_ms, self._wait_ms)
        self._fresh_from_ms = int(rows.at_ms.max()) + 1
        verdict = challenge_impressions(champion, self._recipe, window, self._reference)
        return ImpressionRound(*sizes, verdict.reason, verdict)
