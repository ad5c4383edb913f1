"""Models of posts: what a stage asks of them, and the parts that filters and rankers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.byte_rows import ByteRows, Indices, TokenBlock, word_bounds
from feedmill.features.text.interleaved_weights import Weights
from feedmill.features.text.ngrams import BUCKETS, TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix
from feedmill.models.artifact import Arrays, Artifact
from feedmill.models.trees import Trees

Scores = npt.NDArray[np.float64]

# What a `LinearText` reads.
FEATURES = ("ngrams", *SHAPE_COLUMNS)
_MAX_WEIGHT = 4095
_MAX_WORD_FACTOR = 100
_LARGEST_LEAF = 1e6
_LARGEST_NUMBER = 1e6


class TextModel(Protocol):
    """Scores posts; the stages of the filters and of quality call it for every batch.

    CPU only: it does no I/O and reads no clock.  Safe to call from one thread at a time.  The
    score of a post does not depend on the other posts, and its arrays never change: a worker stops
    a model whose arrays or answers do.  It may raise on a post; the caller then scores the batch
    one by one.
    """

    @property
    def name(self) -> str:
        """The signal's name."""
        ...

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        ...

    def score_many(self, posts: Sequence[Post]) -> Scores:
        """Return the scores of posts: (posts,) float64 in [0, 1]."""
        ...

    def score_batch(self, batch: PostBatch) -> Scores:
        """Return the same for a batch whose features other models read too."""
        ...


@dataclass(frozen=True, slots=True)
class NgramModel:
    """A linear model on hashed n-grams, whose weights are small integers: sums are exact.

    The score of a text is ``sum of weights * scale / sqrt(token count) + bias``; a filter divides
    texts of more than a window by their length, so that the score does not grow with it.

    Attributes
    ----------
    weights
        (`BUCKETS`,), each between -4095 and 4095; int16, of which more fit into a cache.
    scale, bias
        What turns a sum of weights into a score.
    word_factor
        How many times the weight of a word or of a pair of words counts.
    """

    weights: Weights
    scale: float
    bias: float
    word_factor: int = 1

    @property
    def real_weights(self) -> Scores:
        """The weights times the scale: (BUCKETS,) float64."""
        return np.asarray(self.weights * self.scale, dtype=np.float64)

    def score(self, batch: TextBatch) -> Scores:
        """Return the density of each text: (rows,) float64, whatever the length."""
        sums = batch.weighted_sums(self.weights, self.word_factor)
        if len(batch) == 1:
            # The same in Python's numbers, which take less time than numpy's calls for one.
            return np.array([sums.item() * self.scale / batch.norms.item() + self.bias])
        return self.score_sums(sums, batch.norms)

    def score_sums(self, sums: npt.NDArray[np.int64], lengths: Scores) -> Scores:
        """Return the scores from (rows,) sums of weights and (rows,) roots of token counts."""
        return sums * self.scale / lengths + self.bias


@dataclass(frozen=True, slots=True)
class JoinedNgramModels:
    """N-gram models in which words count once, joined so that all read a text in the same calls.

    Attributes
    ----------
    weights
        (models, `BUCKETS`)
    scales, biases
        (models, 1)
    """

    weights: Weights
    scales: Scores
    biases: Scores

    @classmethod
    def of(cls, models: Sequence[NgramModel]) -> JoinedNgramModels:
        """Join models; their weights are copied."""
        constants = np.array([(model.scale, model.bias) for model in models])
        weights = np.array([model.weights for model in models])
        return cls(weights, constants[:, :1], constants[:, 1:])

    def score(self, batch: TextBatch) -> Scores:
        """Return each model's score of each text, as `NgramModel.score`: (models, rows)."""
        sums = batch.weighted_sums(self.weights)
        return sums * self.scales / batch.norms + self.biases


def read_array(artifact: Artifact, key: str) -> npt.NDArray[Any]:
    """Read an array of real numbers, none of them NaN; raises `BadArtifact`."""
    try:
        array = artifact.arrays[key]
    except KeyError as error:
        raise BadArtifact(f"{artifact.label}: it has no array `{key}`; retrain") from error
    if array.dtype.kind not in "iuf" or np.isnan(array).any():
        raise BadArtifact(
            f"{artifact.label}: its array `{key}` has other values than real numbers; retrain"
        )
    return array


def read_ngram_model(artifact: Artifact, name: str) -> NgramModel:
    """Read an n-gram model of an artifact; raises `BadArtifact`."""
    weights = read_array(artifact, f"table_{name}")
    constants = read_array(artifact, f"linear_{name}")
    if weights.shape != (BUCKETS,) or constants.shape != (3,):
        raise BadArtifact(
            f"{artifact.label}: the arrays of its n-gram model `{name}` have the shapes "
            f"{weights.shape} and {constants.shape}, not ({BUCKETS},) and (3,); retrain"
        )
    scale, bias, word_factor = constants.tolist()
    # Beyond them the sum of a long text may overflow.
    largest = np.abs(weights.astype(np.float64)).max()
    if largest > _MAX_WEIGHT or not 1 <= word_factor <= _MAX_WORD_FACTOR:
        raise BadArtifact(
            f"{artifact.label}: its n-gram model `{name}` has a weight beyond {_MAX_WEIGHT} or a "
            f"word factor that is not from 1 to {_MAX_WORD_FACTOR}; retrain"
        )
    return NgramModel(weights.astype(np.int16), scale, bias, int(word_factor))


def read_trees(artifact: Artifact, key: str, columns: int) -> Trees:
    """Read the trees of an artifact, LightGBM's text on so many columns; raises `BadArtifact`."""
    text = read_array(artifact, key).tobytes().decode("utf-8", "replace")
    try:
        trees = Trees.parse(text)
    except BadArtifact as error:
        raise BadArtifact(f"{artifact.label}: {error}") from error
    # Beyond it a sum of leaves may overflow.
    largest = float(np.abs(trees.leaf_values).max(initial=0.0))
    if trees.feature_count != columns or largest > _LARGEST_LEAF:
        raise BadArtifact(
            f"{artifact.label}: its trees read {trees.feature_count} columns and have a leaf of "
            f"{largest:g}, not {columns} and {_LARGEST_LEAF:g} at most; retrain"
        )
    return trees


def tree_arrays(text: str | None) -> Arrays:
    """Return the array of LightGBM's text, which `read_trees` reads by ``trees``; none of None."""
    if text is None:
        return {}
    return {"trees": np.frombuffer(text.encode(), dtype=np.uint8)}


def model_arrays(ngram_models: dict[str, NgramModel]) -> Arrays:
    """Return the arrays of n-gram models, which `read_ngram_model` reads."""
    arrays: Arrays = {}
    for name, model in ngram_models.items():
        arrays[f"table_{name}"] = model.weights.astype(np.int16)
        arrays[f"linear_{name}"] = np.array([model.scale, model.bias, model.word_factor])
    return arrays


@dataclass(frozen=True, slots=True)
class LinearText:
    """The score of a text is that of its n-grams plus a weighted sum of its shape's columns.

    A weighted sum of such models is such a model again: a ranker keeps the models of its constructs
    apart in its artifact, and reads each text once.

    Attributes
    ----------
    ngram_model
        Its `word_factor` is 1; its bias is that of the whole.
    shape_weights
        (`SHAPE_COLUMNS`,) float64.
    """

    ngram_model: NgramModel
    shape_weights: Scores

    def score(self, batch: TextBatch) -> Scores:
        """Return the score of each text: (rows,) float64; a row does not depend on the others."""
        if not len(batch):
            return np.zeros(0)
        by_shape = np.add.reduce(shape_matrix(batch) * self.shape_weights, axis=1)
        scores: Scores = self.ngram_model.score(batch) + by_shape
        return scores


def quantised(weights: Scores, bias: float) -> NgramModel:
    """Round (BUCKETS,) weights to whole steps of the largest over 4095."""
    scale = float(np.abs(weights).max()) / _MAX_WEIGHT or 1.0
    scale = float(np.float32(scale))
    whole = np.clip(np.rint(weights / scale), -_MAX_WEIGHT, _MAX_WEIGHT)
    return NgramModel(whole.astype(np.int16), scale, float(np.float32(bias)))


def weighted_sum(models: Sequence[LinearText], weights: Sequence[float]) -> LinearText:
    """Return the model whose score is the weighted sum of the models' scores, but for rounding."""
    pairs = list(zip(models, weights, strict=True))
    ngrams = sum(weight * model.ngram_model.real_weights for model, weight in pairs)
    bias = sum(weight * model.ngram_model.bias for model, weight in pairs)
    shape = sum(weight * model.shape_weights for model, weight in pairs)
    return LinearText(quantised(np.asarray(ngrams), bias), np.asarray(shape, dtype=np.float64))


def linear_text_arrays(models: Mapping[str, LinearText]) -> Arrays:
    """Return the arrays of an artifact with these models, which `read_linear_text` reads."""
    arrays = model_arrays({name: model.ngram_model for name, model in models.items()})
    return {**arrays, **{f"shape_{name}": m.shape_weights for name, m in models.items()}}


def read_linear_text(artifact: Artifact, name: str) -> LinearText:
    """Read a model of an artifact; raises `BadArtifact`."""
    shape_weights = read_array(artifact, f"shape_{name}")
    ngram_model = read_ngram_model(artifact, name)
    if shape_weights.shape != (len(SHAPE_COLUMNS),):
        raise BadArtifact(
            f"{artifact.label}: the array `shape_{name}` has the shape {shape_weights.shape}, not "
            f"({len(SHAPE_COLUMNS)},); retrain"
        )
    largest = max(np.abs(shape_weights).max(), abs(ngram_model.scale), abs(ngram_model.bias))
    # Beyond it a sum of models may overflow.
    if largest > _LARGEST_NUMBER or ngram_model.word_factor != 1:
        raise BadArtifact(
            f"{artifact.label}: its model `{name}` has a number beyond {_LARGEST_NUMBER:g} or a "
            "word factor that is not 1; retrain"
        )
    return LinearText(ngram_model, shape_weights.astype(np.float64))


def word_parts(model: NgramModel, text: str) -> dict[str, float]:
    """Return what each word adds to the score of a text, without the model's bias.

    An n-gram of bytes counts for the words that its bytes are in, in equal parts; what is between
    words counts for the word before it, and a pair of words for both.  Words are as the model reads
    them: in lower case, disguises undone.  Equal words count together.
    """
    batch = TextBatch([text])
    (chunk,) = batch.chunks
    clean = bytes(chunk.raw.buffer[1 : chunk.raw.ends[0] - 1]).decode("utf-8", "replace")
    folded = clean if clean.isascii() else clean.lower()[:MAX_TEXT_CHARACTERS]
    rows = ByteRows.of([folded.lower()])
    starts, ends, _, _ = word_bounds(rows)
    parts = np.zeros(max(len(starts), 1))
    # The byte n-grams come first, the shortest of 3 bytes; then words, then pairs.
    sizes = iter((3, 4, 5))
    spans = iter((1, 2))
    for block in chunk.blocks:
        weights = _weights(model, block)
        if block.words:
            span = next(spans)
            for offset in range(span):
                parts[offset : offset + len(weights)] += weights / span
        else:
            _add_bytes(parts, weights, int(block.starts[0]), next(sizes), starts)
    parts *= model.scale / float(batch.norms[0])
    names = [
        bytes(rows.buffer[start:end]).decode("utf-8", "replace")
        for start, end in zip(starts, ends, strict=True)
    ] or [folded.strip()]
    added: dict[str, float] = {}
    for name, part in zip(names, parts.tolist(), strict=True):
        added[name] = added.get(name, 0.0) + part
    return added


def _weights(model: NgramModel, block: TokenBlock) -> Scores:
    """Return what each token of the only row weighs, before the model's scale."""
    tokens = block.tokens[block.starts[0] : block.ends[0]]
    factor = model.word_factor if block.words else 1
    return model.weights[tokens].astype(np.float64) * factor


def _add_bytes(parts: Scores, weights: Scores, first: int, size: int, starts: Indices) -> None:
    """Add n-grams of so many bytes, the first of which begins at byte `first`."""
    for offset in range(size):
        place = np.arange(first + offset, first + offset + len(weights))
        word = np.maximum(np.searchsorted(starts, place, side="right") - 1, 0)
        np.add.at(parts, word, weights / size)
