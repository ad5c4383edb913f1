from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.events import post
from feedmill.events.errors import BadArtifact
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.features.text.ngrams import BUCKETS
from feedmill.filters.model import Evidence, ExpertWeights, FilterModel, view_score
from feedmill.models.artifact import Artifact
from feedmill.models.text_model import NgramModel, model_arrays
from feedmill.training.fitting.classifiers import classifier_arrays

NGRAMS = NgramModel(np.ones(BUCKETS, dtype=np.int32), 0.01, -0.5, 2)
EVIDENCE = Evidence(("text", "paths"), ("cues",))


def artifact(weights: int) -> Artifact:
    arrays = model_arrays({"text": NGRAMS, "paths": NGRAMS}, {})
    starts = EVIDENCE.starts
    arrays |= classifier_arrays(
        ExpertWeights(np.ones(weights), starts, np.full(3, 0.25), np.full(3, -9.0))
    )
    arrays |= {"curve_raw": np.array([0.0]), "curve_log_odds": np.array([0.0])}
    return Artifact("spam", "abc", arrays, {})


def test_a_model_comes_back_from_its_artifact_as_it_was() -> None:
    columns = len(EVIDENCE.names)
    assert columns == 2 + len(FEATURE_GROUPS["cues"].columns)
    model = FilterModel.of(artifact(columns), EVIDENCE)
    assert model.ngram_models[0].word_factor == 2
    assert isinstance(model.classifier, ExpertWeights)
    assert model.classifier.starts == (0, 1, 2)
    np.testing.assert_array_equal(model.classifier.biases, 0.25)
    np.testing.assert_array_equal(model.classifier.floors, -9.0)
    assert model.score_many([post()])[0] == 0.5


def test_experts_of_another_number_are_refused_with_the_way_out() -> None:
    other = artifact(len(EVIDENCE.names))
    other.arrays["experts"] = np.zeros((2, 5))
    with pytest.raises(BadArtifact, match=r"its experts are \(2, 5\), not \(2, 3\); retrain"):
        FilterModel.of(other, EVIDENCE)


def test_a_classifier_of_other_columns_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadArtifact, match="`spam@abc`: it weighs 3 columns, not 21; retrain"):
        FilterModel.of(artifact(3), EVIDENCE)


def test_an_empty_view_scores_nothing() -> None:
    posts = [post(), post("q", links=("https://a.org/b-c",))]
    scores = view_score(NGRAMS, "paths", PostBatch(posts))
    assert scores[0] == 0
    assert scores[1] != 0


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=9))
def test_weights_sum_each_row_by_itself(rows: list[list[float]]) -> None:
    matrix = np.array(rows)
    weights, biases = np.array([0.5, -2.0, 1e-3]), np.array([0.25, 0.5])
    experts = ExpertWeights(weights, (0, 1), biases, np.array([-np.inf, -1.0]))
    scores = experts.raw_scores(matrix)
    first = matrix[:, 0] * 0.5 + 0.25
    second = np.maximum(matrix[:, 1:] @ weights[1:] + 0.5, -1.0)
    np.testing.assert_allclose(scores, first + second, rtol=1e-9, atol=1e-6)
    alone = [experts.raw_scores(row[None, :])[0] for row in matrix]
    np.testing.assert_array_equal(scores, alone)
