"""How rankers are trained: data sets, penalties and weights."""

from __future__ import annotations

from dataclasses import dataclass

from feedmill.training.datasets.reactions import FACEBOOK, REDDIT, ReactionDataset
from feedmill.training.fitting.linear_text import RidgePenalties


@dataclass(frozen=True)
class HeadRecipe:
    """A model of one kind of reaction.

    Attributes
    ----------
    kind
        The kind of reaction.
    dataset
        Where posts with counts of it are; None for clicks, which the headline tests have.
    penalties
        How much its weights are shrunken.
    weight
        What it weighs in the prior; each head's scores have unit deviation before.
    """

    kind: str
    dataset: ReactionDataset | None
    penalties: RidgePenalties
    weight: float


@dataclass(frozen=True)
class EngagementRecipe:
    """How engagement is trained.

    Attributes
    ----------
    heads
        One for each kind of reaction, in the order of `rankers.engagement.HEADS`.
    most_rows
        So many rows of a data set at most.
    prior_weights
        What a prior may be worth, in impressions; the best of them is chosen.
    """

    heads: tuple[HeadRecipe, ...]
    most_rows: int
    prior_weights: tuple[float, ...]


ENGAGEMENT = EngagementRecipe(
    heads=(
        HeadRecipe("click", None, RidgePenalties(30.0), 0.5),
        HeadRecipe("like", FACEBOOK, RidgePenalties(300.0), 0.15),
        HeadRecipe("reply", REDDIT, RidgePenalties(200.0), 0.2),
        HeadRecipe("share", FACEBOOK, RidgePenalties(300.0), 0.15),
    ),
    most_rows=30_000,
    prior_weights=(40.0, 80.0, 120.0, 160.0, 240.0, 320.0, 480.0, 640.0, 1000.0, 1500.0, 2000.0),
)
