import numpy as np

from builders.events import posts_of
from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import Evidence, FilterModel, LengthCalibrator
from feedmill.training.fitting.logistic import EvidenceMatrix

EVIDENCE = Evidence(("text", "hosts"), ("cues",))
TEXTS = ["win free money now", "a walk in the woods", "free cash", "bread and butter"] * 30


def test_the_matrix_scores_as_the_model_that_ships() -> None:
    batch = PostBatch(posts_of([*TEXTS, "win a river of bread " * 200]))
    labels = np.array([*([1.0, 0.0, 1.0, 0.0] * 30), 0.0])
    every = np.ones(len(batch), dtype=np.bool_)
    matrix = EvidenceMatrix(EVIDENCE, batch)
    linear = matrix.fit(labels, np.ones(len(batch)), every, 1.0)
    calibrator = LengthCalibrator(np.zeros(0, np.int64), np.zeros(1), 1.0, 1.0)
    model = FilterModel(
        "spam", "", linear.ngram_models, EVIDENCE, linear.weights, linear.bias, calibrator
    )
    scores = matrix.raw_scores(linear, every)
    np.testing.assert_allclose(model.raw_scores(batch), scores, rtol=1e-4, atol=1e-5)
    assert scores[labels == 1].min() > scores[labels == 0].max()


def test_only_the_chosen_rows_are_learned() -> None:
    texts = [*TEXTS, "a walk in the woods"]
    labels = np.array([*([1.0, 0.0, 1.0, 0.0] * 30), 1.0])
    batch = PostBatch(posts_of(texts))
    rows = np.ones(len(texts), dtype=np.bool_)
    rows[-1] = False
    fitted = EvidenceMatrix(EVIDENCE, batch).fit(labels, np.ones(len(texts)), rows, 1.0)
    shorter = PostBatch(posts_of(TEXTS))
    every = np.ones(len(TEXTS), dtype=np.bool_)
    again = EvidenceMatrix(EVIDENCE, shorter).fit(labels[:-1], np.ones(len(TEXTS)), every, 1.0)
    np.testing.assert_array_equal(fitted.weights, again.weights)
    assert fitted.bias == again.bias
