"""How rankers are trained: data sets, penalties and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedmill.training.datasets.ratings import CLICKBAIT, SEMEVAL, WEBIS, RatedDataset
from feedmill.training.datasets.reactions import FACEBOOK, REDDIT, ReactionDataset
from feedmill.training.fitting.linear_text import RidgePenalties
from feedmill.training.fitting.post_effects import EffectPenalties
from feedmill.training.fitting.trees import TreeSettings


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
    trees
        How the trees are fitted that correct the sum of the heads.
    effects
        How effects of authors and hours are shrunken, where a product's own impressions tell them.
    most_rows
        So many rows of a data set at most.
    prior_weights
        What a prior may be worth, in impressions; the best of them is chosen.
    """

    heads: tuple[HeadRecipe, ...]
    trees: TreeSettings
    effects: EffectPenalties
    most_rows: int
    prior_weights: tuple[float, ...]


ENGAGEMENT = EngagementRecipe(
    heads=(
        HeadRecipe("click", None, RidgePenalties(30.0), 0.5),
        HeadRecipe("like", FACEBOOK, RidgePenalties(300.0, media=30.0), 0.15),
        HeadRecipe("reply", REDDIT, RidgePenalties(200.0), 0.2),
        HeadRecipe("share", FACEBOOK, RidgePenalties(300.0, media=30.0), 0.15),
    ),
    trees=TreeSettings(rounds=40, leaves=8, min_rows=60),
    effects=EffectPenalties(
        hours=(np.inf, 10.0, 30.0, 100.0, 300.0), authors=(np.inf, 1.0, 3.0, 10.0, 30.0)
    ),
    most_rows=30_000,
    prior_weights=(
        *(10.0, 20.0, 40.0, 80.0, 120.0, 160.0, 240.0, 320.0, 480.0, 640.0, 1000.0, 1500.0, 2000.0),
    ),
)


@dataclass(frozen=True)
class ConstructRecipe:
    """A construct of quality, and how its model is fitted.

    Attributes
    ----------
    name
        As ``clickbait``.
    dataset
        Texts, each with the mean of its ratings.
    penalties
        How much weights are shrunken.
    helped_by
        A larger data set of the same construct, whose labels say less: a model of it lends its
        scores.
    """

    name: str
    dataset: RatedDataset
    penalties: RidgePenalties
    helped_by: RatedDataset | None = None


@dataclass(frozen=True)
class QualityRecipe:
    """How quality is trained.

    Attributes
    ----------
    constructs
        At least one.
    trees
        How the trees are fitted that correct the mean rating.
    helper_penalty
        scikit-learn's alpha of the models that lend their scores.
    register_c
        scikit-learn's C of the models that say which construct a text belongs to.
    """

    constructs: tuple[ConstructRecipe, ...]
    trees: TreeSettings
    helper_penalty: float
    register_c: float


QUALITY = QualityRecipe(
    constructs=(
        ConstructRecipe("clickbait", WEBIS, RidgePenalties(30.0, 100.0), helped_by=CLICKBAIT),
        ConstructRecipe("helpfulness", SEMEVAL, RidgePenalties(30.0)),
    ),
    trees=TreeSettings(rounds=40, leaves=4, min_rows=40),
    helper_penalty=300.0,
    register_c=0.5,
)
# The name of the construct that a product's own ratings add.
OWN_RATINGS = "rating"
OWN_PENALTIES = RidgePenalties(30.0)
