import numpy as np

from feedmill.features.text.ngrams import BUCKETS, TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix
from feedmill.models.artifact import Artifact
from feedmill.models.text_model import (
    LinearText,
    linear_text_arrays,
    quantised,
    read_linear_text,
    weighted_sum,
)

TEXTS = ["", "a walk by the river", "BUY pills NOW!!! " * 40, "日本語のテキスト"]


def made(seed: int) -> LinearText:
    random = np.random.default_rng(seed)
    ngrams = quantised(random.normal(size=BUCKETS), bias=0.5)
    return LinearText(ngrams, random.normal(size=len(SHAPE_COLUMNS)))


def test_a_score_adds_ngrams_and_shape_and_is_of_each_row_alone() -> None:
    model, batch = made(1), TextBatch(TEXTS)
    scores = model.score(batch)
    expected = model.ngram_model.score(batch) + shape_matrix(batch) @ model.shape_weights
    np.testing.assert_allclose(scores, expected)
    alone = [model.score(TextBatch([text]))[0] for text in TEXTS]
    np.testing.assert_array_equal(scores, alone)
    assert model.score(TextBatch([])).shape == (0,)


def test_the_weighted_sum_scores_as_the_models_do_together() -> None:
    first, second, batch = made(1), made(2), TextBatch(TEXTS)
    both = weighted_sum([first, second], [2.0, -0.5])
    expected = 2 * first.score(batch) - 0.5 * second.score(batch)
    np.testing.assert_allclose(both.score(batch), expected, atol=0.05)


def test_weights_are_rounded_to_a_4095th_of_the_largest() -> None:
    weights = np.random.default_rng(1).normal(size=BUCKETS)
    model = quantised(weights, 0.0)
    assert np.abs(model.weights).max() == 4095
    assert np.abs(model.real_weights - weights).max() <= np.abs(weights).max() / 4095 * 0.51
    assert not quantised(np.zeros(BUCKETS), 0.0).weights.any()


def test_a_model_is_read_from_the_arrays_it_was_written_to() -> None:
    arrays = linear_text_arrays({"a": made(1), "b": made(2)})
    read = read_linear_text(Artifact("m", "0", arrays, {}), "b")
    np.testing.assert_array_equal(read.score(TextBatch(TEXTS)), made(2).score(TextBatch(TEXTS)))
