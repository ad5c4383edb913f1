"""Quality: the mean rating that a text would get from people, in [0, 1].

Each construct that people rated has a model of its own: how little a headline baits for clicks, how
much an answer helps.  A further model says which of them a text is written like.  The value is the
mean rating under each construct, weighed by these probabilities; so it rises with each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import TextBatch
from feedmill.models.artifact import Artifact
from feedmill.models.linear_text import FEATURES, LinearText, read_linear_text
from feedmill.models.text_model import NgramModel, Scores, TextModel, read_ngram_model
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
    """The shipped `TextModel` of quality."""

    name: str
    version: str
    constructs: tuple[Construct, ...]

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
        ratings, probabilities = self.ratings(batch), self.probabilities(batch)
        values: Scores = (ratings * probabilities).sum(axis=0)
        return values

    def ratings(self, batch: TextBatch) -> npt.NDArray[np.float64]:
        """Return the mean rating of each text under each construct: (constructs, texts)."""
        scores = [construct.rating.score(batch) for construct in self.constructs]
        return np.clip(np.stack(scores), _LEAST, _MOST)

    def probabilities(self, batch: TextBatch) -> npt.NDArray[np.float64]:
        """Return the probability of each construct: (constructs, texts); they sum to 1."""
        odds = np.zeros((len(self.constructs), len(batch)))
        for row, construct in enumerate(self.constructs):
            if construct.register is not None:
                odds[row] = construct.register.score(batch)
        weights = np.exp(odds - odds.max(axis=0))
        return np.asarray(weights / weights.sum(axis=0))

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
                read_ngram_model(artifact, f"register_{name}") if row else None,
            )
            for row, name in enumerate(names)
        )
        return cls(artifact.name, artifact.version, constructs)


RANKER: RankerSpec[TextModel] = RankerSpec("quality", FEATURES, QualityModel.of)
