"""How models are trained: the recipes of filters by name, and those of both rankers.

A recipe has data sets, penalties and weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedmill.filters.model import Evidence
from feedmill.training.datasets.known import (
    COVID,
    FAKENEWSNET,
    OVER18,
    SMS,
    YOUTUBE,
    KnownDataset,
)
from feedmill.training.datasets.ranker_datasets import (
    CLICKBAIT,
    FACEBOOK,
    REDDIT,
    SEMEVAL,
    WEBIS,
    RatedDataset,
    ReactionDataset,
)
from feedmill.training.fitting.linear_text import RidgePenalties
from feedmill.training.fitting.post_effects import EffectPenalties
from feedmill.training.fitting.trees import TreeSettings

# The name of the construct that a product's own ratings add.
OWN_RATINGS = "rating"
OWN_PENALTIES = RidgePenalties(30.0)


@dataclass(frozen=True)
class WeightedDataset:
    """A labelled data set and how much it weighs beside the others of its recipe."""

    known: KnownDataset
    weight: float

    @property
    def file(self) -> str:
        """The file, as cards name it."""
        return self.known.file


@dataclass(frozen=True)
class Recipe:
    """How filters are trained.

    Attributes
    ----------
    summary, weaknesses
        What the card says of the model.
    datasets
        The labelled data sets of the data folder; a file given with `--data` replaces them.
    evidence
        What the filter reads.
    max_demote_rate, max_hide_rate
        The largest fractions of ordinary validation rows, of any source and length, that reach 0.6
        and 0.9.
    ordinary_weight
        What the ordinary rows together weigh beside the labelled ones.
    everyday_weight
        What made sentences of everyday life (`datasets/synthetic_posts.py`) together weigh
        beside the labelled rows.
    inverse_penalty
        scikit-learn's C, where labelled rows weigh 1 on average.
    ceiling
        The highest value; below 0.9 the filter never hides by default.
    fine_rows_choose
        Whether the fine rows of the labelled data sets are ordinary posts, which choose the
        thresholds too, scored by a model that did not learn them.
    plain_copies
        Whether it also learns from the first sentence of each labelled post, without addresses.
    by_group
        Whether groups count and not rows: a group weighs as the root of its size, and an n-gram
        counts the more, the more groups agree on what it tells (`fitting.filters.group_contrast`).
    """

    summary: str
    datasets: tuple[WeightedDataset, ...]
    evidence: Evidence
    weaknesses: tuple[str, ...]
    max_demote_rate: float = 0.01
    max_hide_rate: float = 0.002
    ordinary_weight: float = 0.5
    everyday_weight: float = 0.0
    inverse_penalty: float = 1.0
    ceiling: float = 1.0
    fine_rows_choose: bool = False
    plain_copies: bool = False
    by_group: bool = False

    @property
    def files(self) -> list[str]:
        """The files of its data sets."""
        return [dataset.file for dataset in self.datasets]


_SPAM = Recipe(
    summary="Unwanted advertising and fraud, by words and by terms known of spam.",
    datasets=(WeightedDataset(YOUTUBE, 1.0), WeightedDataset(SMS, 1.0)),
    evidence=Evidence(("text",), ("cues",)),
    weaknesses=(
        "English comments and text messages of 2011-2015; no link is followed",
        "weaker on a platform it has not seen: see the rows `left out` of docs/filters.md",
        "the list of cues was written by people who had seen examples of both sets, and what "
        "the filter missed in them",
        "disguises are undone for Latin letters and English words only",
        "spam in a small part of a long text is not found",
    ),
    max_demote_rate=0.016,
    inverse_penalty=0.3,
)

_NSFW = Recipe(
    summary="Sexual or gory content, by the words that go with it; no picture is looked at.",
    datasets=(WeightedDataset(OVER18, 1.0),),
    evidence=Evidence(("text", "hosts"), ("profanity",)),
    weaknesses=(
        "Reddit's flag is about the picture as often as about the words: most flagged posts "
        "say nothing that gives them away, and are missed",
        "an ordinary post about sex, in a community for that, is often demoted",
        "that words of the body and of clothes are harmless by themselves it knows from 600 "
        "sentences that a generator of feedmill wrote: real posts are more varied",
    ),
    everyday_weight=0.03,
    inverse_penalty=0.03,
    fine_rows_choose=True,
    by_group=True,
)

_MISINFORMATION = Recipe(
    summary="Claims written the way false ones were; a hint that demotes, never proof.",
    datasets=(WeightedDataset(COVID, 1.0), WeightedDataset(FAKENEWSNET, 0.5)),
    evidence=Evidence(("text", "paths"), domains=True),
    weaknesses=(
        "knows COVID-19 claims of 2020 and celebrity gossip of 2018; new false claims look "
        "ordinary to it",
        "it demotes at most: its values end at 0.89, below the shipped hide_at",
        "checks no fact and follows no link; what it knows of publishers is a list of 2023",
    ),
    max_demote_rate=0.008,
    ordinary_weight=1.0,
    ceiling=0.89,
    plain_copies=True,
)

# For a filter of your own that has no recipe yet.
_LINEAR = Recipe(
    summary="Posts that read like the violating ones it was trained on, by words.",
    datasets=(),
    evidence=Evidence(("text",)),
    weaknesses=("trained by the general recipe, whose settings were not chosen for this filter",),
)

RECIPES: dict[str, Recipe] = {
    "spam": _SPAM,
    "nsfw": _NSFW,
    "misinformation": _MISINFORMATION,
    "linear": _LINEAR,
}


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
