"""The model of a filter: n-gram scores and columns of evidence, weighed, then calibrated.

Raw scores become probabilities by a threshold for each length of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, inf, log
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.gates import DEMOTE_AT, GatePolicy
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.filters.raised_values import raise_by_domains, raise_self_labelled
from feedmill.models.artifact import Arrays, Artifact, read_artifact, store_with
from feedmill.models.store_files import Store
from feedmill.models.text_model import (
    NgramModel,
    Scores,
    model_arrays,
    read_array,
    read_ngram_model,
    word_parts,
)

STORE = Path(__file__).parent / "artifacts"

Parts = list[tuple[str, float]]
# A text may have thousands of words; no word is written like this.
OTHERS, _MAX_WORDS = "(others)", 30


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability; infinite at 1."""
    return inf if probability == 1 else log(probability / (1 - probability))


_DEMOTE_LOG_ODDS = log_odds(DEMOTE_AT)


@dataclass(frozen=True, slots=True)
class LengthCalibrator:
    """A logistic map whose threshold depends on the length of the text.

    Attributes
    ----------
    lengths
        (bands - 1,) the most characters of a text in each band but the last, ascending.
    demote_at
        (bands,) the raw score that becomes `DEMOTE_AT`.
    slope
        How many log-odds one raw score is worth.
    ceiling
        No value is higher; values come close to it and never meet.
    """

    lengths: npt.NDArray[np.int64]
    demote_at: Scores
    slope: float
    ceiling: float

    def value(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Map (rows,) raw scores of texts of so many characters to (rows,) float64 in [0, 1]."""
        if len(raw) == 1:
            return np.array([self._value_of_one(raw.item(), characters.item())])
        values: Scores = 1.0 / (1.0 + np.exp(-self.log_odds(raw, characters)))
        return values

    def _value_of_one(self, raw: float, characters: int) -> float:
        """Return what `value` does of one score, by Python's numbers."""
        threshold = self.demote_at.item(int(self.lengths.searchsorted(characters)))
        # Up and down again, as `log_odds` does: rounding is part of the value.
        above = self.slope * (raw - threshold) + _DEMOTE_LOG_ODDS - _DEMOTE_LOG_ODDS
        room = log_odds(self.ceiling) - _DEMOTE_LOG_ODDS
        if above > 0 and room < inf:
            above = room * float(np.tanh(np.divide(above, room)))
        odds = max(above + _DEMOTE_LOG_ODDS, -700.0)
        return 1.0 / (1.0 + float(np.exp(-odds)))

    def log_odds(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Return the log-odds of the same values: (rows,)."""
        above = self.unlimited(raw, characters) - _DEMOTE_LOG_ODDS
        room = log_odds(self.ceiling) - _DEMOTE_LOG_ODDS
        if room < inf:
            above = np.where(above > 0, room * np.tanh(above / room), above)
        odds: Scores = np.maximum(above + _DEMOTE_LOG_ODDS, -700.0)
        return odds

    def unlimited(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Return the log-odds without the ceiling, linear in the raw score: (rows,)."""
        above = raw - self.demote_at[self.lengths.searchsorted(characters)]
        return self.slope * above + _DEMOTE_LOG_ODDS


_WHOLE_ROW = np.zeros(1, dtype=np.intp)


class Evidence(NamedTuple):
    """What a filter reads of a post.

    Attributes
    ----------
    views
        The texts of a post (`PostBatch.view`) that get an n-gram model each: `text`, `hosts`,
        `paths`.
    groups
        The groups of numeric columns (`features.registry.FEATURE_GROUPS`).
    domains
        Whether the credibility of linked domains raises its values (`raised_values.py`).
    """

    views: tuple[str, ...]
    groups: tuple[str, ...] = ()
    domains: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: a score for each view, then the groups' columns."""
        columns = (name for group in self.groups for name in FEATURE_GROUPS[group].columns)
        return (*(f"ngrams_{view}" for view in self.views), *columns)


def view_score(model: NgramModel, view: str, batch: PostBatch) -> Scores:
    """Return an n-gram model's score of each post's view: (posts,), 0 where the view is empty."""
    texts = batch.view(view)
    if view == "text":
        return model.score(texts)
    if not any(texts.texts):
        return np.zeros(len(batch))
    has_view = batch.has_content(view)
    scores: Scores = np.where(has_view, model.score(texts), 0.0)
    return scores


@dataclass(frozen=True, slots=True)
class FilterModel:
    """The model of every filter, a logistic regression; a `TextModel`.

    Attributes
    ----------
    weights, bias
        (columns,) float64, what each column of the evidence weighs, and what is added.
    """

    name: str
    version: str
    ngram_models: tuple[NgramModel, ...]
    evidence: Evidence
    weights: Scores
    bias: float
    calibrator: LengthCalibrator
    believed_self_labels: frozenset[str] = frozenset()

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return (len(posts),) float64 in [0, 1]: the probability that a post violates."""
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        """Return (len(batch),) float64 in [0, 1], of posts whose features several models share."""
        if not len(batch):
            return np.zeros(0)
        values = self.calibrator.value(self.raw_scores(batch), batch.characters)
        if self.evidence.domains:
            values = raise_by_domains(batch, values)
        return raise_self_labelled(self.believed_self_labels, batch.posts, values)

    def raw_scores(self, batch: PostBatch) -> Scores:
        """Return the scores before calibration: (posts,), any real number."""
        views = zip(self.ngram_models, self.evidence.views, strict=True)
        scores = [view_score(model, view, batch) for model, view in views]
        total = sum(scores, cast(Scores, self.bias))
        start = len(self.ngram_models)
        for group in self.evidence.groups:
            columns = batch.computed(FEATURE_GROUPS[group].compute)
            weights = self.weights[start : start + columns.shape[1]]
            start += len(weights)
            if np.count_nonzero(columns):
                # A matrix product may round a row differently in another batch; these sums do not.
                total += np.add.reduceat(columns * weights, _WHOLE_ROW, axis=1)[:, 0]
        return total

    def evidence_rows(self, batch: PostBatch) -> Scores:
        """Return the columns that are weighed, by `Evidence.names`: (posts, columns) float64."""
        views = zip(self.ngram_models, self.evidence.views, strict=True)
        scores = np.stack([view_score(model, view, batch) for model, view in views], axis=1)
        groups = (batch.computed(FEATURE_GROUPS[group].compute) for group in self.evidence.groups)
        return np.concatenate([scores, *groups], axis=1)

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        evidence: Evidence,
        believed_self_labels: frozenset[str] = frozenset(),
    ) -> FilterModel:
        """Build from a checked artifact.

        Raises `BadArtifact`: an array is missing, or it was trained on another number of
        columns.
        """
        ngram_models = tuple(read_ngram_model(artifact, view) for view in evidence.views)
        weights = read_array(artifact, "weights").astype(np.float64)
        if len(weights) != len(evidence.names):
            raise BadArtifact(
                f"model `{artifact.name}@{artifact.version}`: it weighs {len(weights)} columns, "
                f"not {len(evidence.names)}; retrain"
            )
        bias, slope, ceiling = read_array(artifact, "calibration").tolist()
        calibrator = LengthCalibrator(
            read_array(artifact, "lengths"), read_array(artifact, "demote_at"), slope, ceiling
        )
        return cls(
            artifact.name,
            artifact.version,
            ngram_models,
            evidence,
            weights,
            bias,
            calibrator,
            believed_self_labels,
        )

    def arrays(self) -> Arrays:
        """Return the arrays of an artifact, which `of` reads."""
        calibrator = self.calibrator
        return model_arrays(dict(zip(self.evidence.views, self.ngram_models, strict=True))) | {
            "weights": self.weights,
            "lengths": calibrator.lengths,
            "demote_at": calibrator.demote_at,
            "calibration": np.array([self.bias, calibrator.slope, calibrator.ceiling]),
        }


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One filter: all that serving and training know of it.

    Attributes
    ----------
    name
        The gate whose signal it writes.  Its file, its stage and its artifact have the same name.
    recipe
        The name of the recipe in `training/recipes.py` that its model is trained by.
    reads_near_copies
        Whether earlier near copies of a post raise its value (`raised_values.py`).  Each instance
        then reads all of `posts` and keeps about 41 MB.
    believed_self_labels
        An author who gives a post one of these labels is believed; case-folded.
    gate
        The policy of its gate where no setting says otherwise.
    """

    name: str
    evidence: Evidence
    recipe: str
    reads_near_copies: bool = False
    believed_self_labels: frozenset[str] = frozenset()
    gate: GatePolicy = field(default_factory=GatePolicy)

    def load(self, store: Store | None = None, sha256: str | None = None) -> FilterModel:
        """Load the model that the card names, or a version of it; from `store`, else as it ships.

        Called once at start and once per release; reads one file of well under a megabyte.

        Raises `BadArtifact`: there is no card or artifact, it was altered, or it was
        trained on other evidence.
        """
        where = store_with(store, self.name, STORE, sha256)
        artifact = read_artifact(where, self.name, self.evidence.names, sha256)
        return FilterModel.of(artifact, self.evidence, self.believed_self_labels)


class ValueExplanation(msgspec.Struct, frozen=True):
    """A value and the parts of its log-odds, which add up to `log_odds`.

    Attributes
    ----------
    words
        By view of the post (`Evidence.views`), what each word adds, the strongest first.
    evidence
        What each column of evidence adds that is not 0, the strongest first.
    constant
        What every post of this length has: the bias less the threshold.
    limit
        What the ceiling of the values takes away, or what a label of the author's own or a linked
        domain adds.
    """

    value: float
    log_odds: float
    words: dict[str, Parts]
    evidence: Parts
    constant: float
    limit: float


def explain_post(model: FilterModel, post: Post) -> ValueExplanation:
    """Explain the value of one post; raises what the model raises on it."""
    batch = PostBatch([post])
    calibrator = model.calibrator
    weights = (model.weights * calibrator.slope).tolist()
    views = model.evidence.views
    columns = model.evidence_rows(batch)[0] * weights
    words: dict[str, Parts] = {}
    for index, (view, ngrams) in enumerate(zip(views, model.ngram_models, strict=True)):
        if not batch.has_content(view)[0]:
            continue
        parts = word_parts(ngrams, batch.view(view).texts[0])
        words[view] = _strongest({word: part * weights[index] for word, part in parts.items()})
    named = dict(zip(model.evidence.names[len(views) :], columns[len(views) :], strict=True))
    evidence = _strongest({name: float(part) for name, part in named.items() if part})
    value = float(model.score_batch(batch)[0])
    scored = model.raw_scores(batch), batch.characters
    odds = float(calibrator.log_odds(*scored)[0])
    if value > float(calibrator.value(*scored)[0]):
        odds = log_odds(value)
    moved = fsum(part for some in (*words.values(), evidence) for _, part in some)
    unlimited = float(calibrator.unlimited(*scored)[0])
    return ValueExplanation(value, odds, words, evidence, unlimited - moved, odds - unlimited)


def _strongest(parts: dict[str, float]) -> Parts:
    """Return the parts, the strongest first; those beyond `_MAX_WORDS` are one."""
    ordered = sorted(parts.items(), key=lambda part: (-abs(part[1]), part[0]))
    others = ordered[_MAX_WORDS:]
    rest = [(OTHERS, fsum(part for _, part in others))] if others else []
    return ordered[:_MAX_WORDS] + rest
