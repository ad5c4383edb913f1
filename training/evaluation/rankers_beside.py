"""A ranker of a product's own data beside the shipped one, on the same rows.

What a model learned says nothing of how good it is.  So quality is measured by the ratings that
models gave which had not learned a post's author, and engagement by a model of the earlier
impressions on those of later posts.  The shipped models never saw either.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from feedmill.events.errors import UsageError
from feedmill.models.text_model import TextModel
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.training.arrays import Values
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.impressions import LaterPosts, evaluate_later_posts
from feedmill.training.evaluation.metrics import rank_correlation
from feedmill.training.evaluation.side_by_side import UNSEEN
from feedmill.training.ranker_recipes import ENGAGEMENT


def rating_figures(rows: LabelledPosts, ratings: Values) -> dict[str, float]:
    """Return how near ratings are to the labels of rows, as a card has it."""
    return {
        f"{rows.source}{UNSEEN}.order": rank_correlation(ratings, rows.labels),
        f"{rows.source}{UNSEEN}.error": float(np.abs(ratings - rows.labels).mean()),
    }


def ratings_beside(shipped: TextModel, rows: LabelledPosts) -> dict[str, float]:
    """Return the same of a model that saw none of these rows."""
    return rating_figures(rows, shipped.score_many(rows.posts))


def shipped_engagement() -> ExpectedClicks:
    """Load the shipped engagement model; raises `BadArtifact`."""
    return cast(ExpectedClicks, ENGAGEMENT_RANKER.load())


def clicks_beside(shipped: ExpectedClicks, rows: Impressions) -> LaterPosts | str:
    """Return how both do on later posts; where these are too few, why they are not measured."""
    try:
        return evaluate_later_posts(ENGAGEMENT, rows, shipped)
    except UsageError as error:
        return str(error)
