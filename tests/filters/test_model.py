from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.events import post, posts_of
from feedmill.events.errors import BadArtifact
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.features.text.ngrams import BUCKETS
from feedmill.filters.model import Evidence, ExpertWeights, FilterModel, view_score
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import Artifact
from feedmill.models.text_model import NgramModel, model_arrays
from feedmill.training.fitting.classifiers import (
    Expert,
    LinearBlend,
    classifier_arrays,
    fit_linear_blend,
    fit_slope,
)
from feedmill.training.recipes import RECIPES

TABLE = NgramModel(np.ones(BUCKETS, dtype=np.int32), 0.01, -0.5, 2)
EVIDENCE = Evidence(("text", "paths"), ("cues",))


def artifact(weights: int) -> Artifact:
    arrays = model_arrays({"text": TABLE, "paths": TABLE}, {})
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
    assert isinstance(model.head, ExpertWeights)
    assert model.head.starts == (0, 1, 2)
    np.testing.assert_array_equal(model.head.biases, 0.25)
    np.testing.assert_array_equal(model.head.floors, -9.0)
    assert model.score_many([post()])[0] == 0.5


def test_experts_of_another_number_are_refused_with_the_way_out() -> None:
    other = artifact(len(EVIDENCE.names))
    other.arrays["experts"] = np.zeros((2, 5))
    with pytest.raises(BadArtifact, match=r"its experts are \(2, 5\), not \(2, 3\); retrain"):
        FilterModel.of(other, EVIDENCE)


def test_a_head_of_other_columns_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadArtifact, match="`spam@abc`: it weighs 3 columns, not 21; retrain"):
        FilterModel.of(artifact(3), EVIDENCE)


def test_an_empty_view_scores_nothing() -> None:
    posts = [post(), post("q", links=("https://a.org/b-c",))]
    scores = view_score(TABLE, "paths", PostBatch(posts))
    assert scores[0] == 0
    assert scores[1] != 0


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=9))
def test_weights_sum_each_row_by_itself(rows: list[list[float]]) -> None:
    matrix = np.array(rows)
    weights, biases = np.array([0.5, -2.0, 1e-3]), np.array([0.25, 0.5])
    head = ExpertWeights(weights, (0, 1), biases, np.array([-np.inf, -1.0]))
    scores = head.raw_scores(matrix)
    first = matrix[:, 0] * 0.5 + 0.25
    second = np.maximum(matrix[:, 1:] @ weights[1:] + 0.5, -1.0)
    np.testing.assert_allclose(scores, first + second, rtol=1e-9, atol=1e-6)
    alone = [head.raw_scores(row[None, :])[0] for row in matrix]
    np.testing.assert_array_equal(scores, alone)


def test_experts_of_a_blend_weigh_alike_however_large_their_columns_are() -> None:
    texts = ["win free money now", "a walk in the woods"] * 40
    batch = PostBatch(posts_of(texts))
    labels = np.array([1.0, 0.0] * 40)
    ngrams = (labels * 1e6)[:, None]
    everything = np.ones(80, dtype=np.bool_)
    blend = LinearBlend((Expert("cues", 1.0, 1.0),))
    head = fit_linear_blend(blend, ngrams, batch, labels, np.ones(80), everything)
    rows = np.concatenate([ngrams, batch.columns("cues")], axis=1)
    from_ngrams = rows[:, :1] * head.weights[:1]
    from_cues = rows[:, 1:] @ head.weights[1:]
    assert from_ngrams.std() == pytest.approx(1.0, rel=1e-5)
    assert from_cues.std() == pytest.approx(1.0, rel=1e-5)
    assert np.isneginf(head.floors).all()


def test_an_expert_that_knows_nothing_does_not_outweigh_one_that_does() -> None:
    texts = ["win free money now", "a walk in the woods"] * 40
    batch = PostBatch(posts_of(texts))
    labels, everything = np.array([1.0, 0.0] * 40), np.ones(80, dtype=np.bool_)
    ngrams = np.tile([0.0, 1.0], 40)[:, None]
    blend = LinearBlend((Expert("cues", 1.0, 1.0),), floor=-1.0)
    head = fit_linear_blend(blend, ngrams, batch, labels, np.ones(80), everything)
    np.testing.assert_array_equal(head.floors, [-1.0, -1.0])
    rows = np.concatenate([ngrams, batch.columns("cues")], axis=1)
    rows[0, 0] = -1e9
    cues_say = rows[0, 1:] @ head.weights[1:] + head.biases[1]
    assert cues_say == pytest.approx(1.0, rel=1e-5)
    assert head.raw_scores(rows)[0] == pytest.approx(-1.0 + cues_say)


def test_the_slope_is_the_one_that_labels_call_for() -> None:
    random = np.random.default_rng(1)
    raw = random.normal(-2, 2, 20_000)
    truth = 1 / (1 + np.exp(-(np.log(0.6 / 0.4) + 1.5 * raw)))
    labels = (random.random(20_000) < truth).astype(float)
    assert fit_slope(raw, labels, np.ones(20_000), at=0.0) == pytest.approx(1.5, rel=0.15)


def test_what_a_recipe_trains_is_what_the_registry_reads() -> None:
    for name, evidence in FILTERS.items():
        recipe = RECIPES[name]
        views = tuple(table.view for table in recipe.tables)
        assert Evidence(views, recipe.head.groups) == evidence
