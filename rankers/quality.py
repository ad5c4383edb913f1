"""Quality: the mean rating that a text would get from people, in [0, 1].

Each construct that people rated has a model of its own: how little a headline baits for clicks, how
much an answer helps.  A further model says which of them a text is written like.  The mean rating
under each construct is weighed by these probabilities.  LightGBM's trees correct the mean by the
shape of the text; they never fall as a rating rises, so the value rises with each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix
from feedmill.models.artifact import Artifact
from feedmill.models.text_model import (
    FEATURES,
    JoinedNgramModels,
    LinearText,
    NgramModel,
    Scores,
    TextModel,
    read_linear_text,
    read_ngram_model,
    read_trees,
)
from feedmill.models.trees import Trees
from feedmill.rankers.spec import RankerSpec

# Ratings of real people do not reach the ends.
_LEAST, _MOST = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class Construct:
    """What people rated in posts of one kind.

    Attributes
    ----------
    name
        As ``clickbait``.
    rating
        Its score is the mean rating of a text of that kind, 1 the best.
    register
        Its score is the log-odds that a text is of that kind and not of the first one; None for
        the first.
    """

    name: str
    rating: LinearText
    register: NgramModel | None


@dataclass(frozen=True, slots=True)
class QualityModel:
    """The shipped `TextModel` of quality.

    Attributes
    ----------
    constructs
        At least one.
    trees
        What `tree_columns` adds to the mean; None in models from before there were trees.
    ngram_models
        Those of the ratings, then of the registers, joined; made of `constructs`.
    shape_weights
        (constructs, 1, columns): those of the ratings.
    """

    name: str
    version: str
    constructs: tuple[Construct, ...]
    trees: Trees | None = None
    ngram_models: JoinedNgramModels = field(init=False)
    shape_weights: Scores = field(init=False)

    def __post_init__(self) -> None:
        ratings = [construct.rating for construct in self.constructs]
        registers = [c.register for c in self.constructs if c.register is not None]
        joined = JoinedNgramModels.of([*(rating.ngram_model for rating in ratings), *registers])
        object.__setattr__(self, "ngram_models", joined)
        weights = np.array([[rating.shape_weights] for rating in ratings])
        object.__setattr__(self, "shape_weights", weights)

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) float64 in [0, 1]."""
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        """Return the same for a batch whose features other models read too."""
        return self.score_texts(batch.text)

    def score_texts(self, batch: TextBatch) -> Scores:
        """Return the scores of texts whose n-grams are hashed: (rows,) float64 in [0, 1]."""
        if not len(batch):
            return np.zeros(0)
        ratings, probabilities = self.read(batch)
        values = mean_rating(ratings, probabilities)
        if self.trees is not None:
            columns = tree_columns(ratings, shape_matrix(batch))
            values = bounded(values + self.trees.raw_scores(columns))
        return values

    def read(self, batch: TextBatch) -> tuple[Scores, Scores]:
        """Return each text's mean rating under each construct, and the probability of each.

        Both (constructs, texts); probabilities sum to 1.
        """
        constructs = len(self.constructs)
        scores = self.ngram_models.score(batch)
        by_shape = np.add.reduce(shape_matrix(batch) * self.shape_weights, axis=2)
        odds = np.zeros((constructs, len(batch)))
        odds[1:] = scores[constructs:]
        return bounded(scores[:constructs] + by_shape), softmax(odds)

    @classmethod
    def of(cls, artifact: Artifact) -> QualityModel:
        """Build from a checked artifact; raises `BadArtifact` where a part of it is missing."""
        names = artifact.metadata.get("constructs")
        if not isinstance(names, list) or not names:
            raise BadArtifact(f"{artifact.label}: no constructs in it; retrain")
        constructs = tuple(
            Construct(
                str(name),
                read_linear_text(artifact, str(name)),
                _read_register(artifact, f"register_{name}") if row else None,
            )
            for row, name in enumerate(names)
        )
        trees = None
        if "trees" in artifact.arrays:
            trees = read_trees(artifact, "trees", len(constructs) + len(SHAPE_COLUMNS))
        return cls(artifact.name, artifact.version, constructs, trees)


def _read_register(artifact: Artifact, name: str) -> NgramModel:
    register = read_ngram_model(artifact, name)
    if register.word_factor != 1:
        # Joined with the ratings, its words would count once.
        raise BadArtifact(f"{artifact.label}: `{name}` has a word factor that is not 1; retrain")
    return register


def softmax(odds: Scores) -> Scores:
    """Return the probability of each construct from log-odds, (constructs, texts) each."""
    weights = np.exp(odds - np.maximum.reduce(odds, axis=0))
    return np.asarray(weights / np.add.reduce(weights, axis=0))


def bounded(ratings: Scores) -> Scores:
    """Keep ratings to [0.01, 0.99]."""
    # `clip` takes four times as long on a single text.
    return np.minimum(np.maximum(ratings, _LEAST), _MOST)


def mean_rating(ratings: Scores, probabilities: Scores) -> Scores:
    """Return the mean rating of each text, (texts,), from (constructs, texts) of both."""
    return np.asarray(np.add.reduce(ratings * probabilities, axis=0))


def tree_columns(ratings: Scores, shape: npt.NDArray[np.floating[Any]]) -> Scores:
    """Return what trees read, (texts, columns): the rating under each construct, then the shape."""
    return np.concatenate((ratings.T, shape), axis=1)


RANKER: RankerSpec[TextModel] = RankerSpec("quality", FEATURES, QualityModel.of)
