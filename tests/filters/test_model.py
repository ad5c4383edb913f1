import numpy as np
import pytest

from builders.events import post, posts_of
from feedmill.events.errors import BadArtifact
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.features.text.ngrams import BUCKETS
from feedmill.filters.calibration import LengthCalibrator
from feedmill.filters.model import Evidence, FilterModel, view_score
from feedmill.models.artifact import Artifact
from feedmill.models.text_model import NgramModel

NGRAMS = NgramModel(np.ones(BUCKETS, dtype=np.int32), 0.01, 0.0, 2)
EVIDENCE = Evidence(("text", "paths"), ("cues",))


def model() -> FilterModel:
    columns = len(FEATURE_GROUPS["cues"].columns)
    weights = np.array([1.0, 1.0, *range(columns)])
    calibrator = LengthCalibrator(np.array([100, 200]), np.array([1.0, 2.0, 3.0]), 0.5, 0.89)
    return FilterModel("spam", "abc", (NGRAMS, NGRAMS), EVIDENCE, weights, -0.5, calibrator)


def test_a_model_comes_back_from_its_artifact_as_it_was() -> None:
    original = model()
    artifact = Artifact("spam", "abc", original.arrays(), {})
    again = FilterModel.of(artifact, EVIDENCE)
    assert again.ngram_models[0].word_factor == 2
    assert (again.bias, again.calibrator.slope, again.calibrator.ceiling) == (-0.5, 0.5, 0.89)
    posts = [post(), post("q", "win a free prize " * 30, links=("https://a.org/b-c",))]
    np.testing.assert_array_equal(again.score_many(posts), original.score_many(posts))


def test_a_model_of_other_columns_is_refused_with_the_way_out() -> None:
    arrays = model().arrays() | {"weights": np.ones(3)}
    with pytest.raises(BadArtifact, match="`spam@abc`: it weighs 3 columns, not 11; retrain"):
        FilterModel.of(Artifact("spam", "abc", arrays, {}), EVIDENCE)


def test_an_empty_view_scores_nothing() -> None:
    posts = [post(), post("q", links=("https://a.org/b-c",))]
    scores = view_score(NGRAMS, "paths", PostBatch(posts))
    assert scores[0] == 0
    assert scores[1] != 0


def test_the_columns_times_their_weights_are_the_raw_score() -> None:
    batch = PostBatch(posts_of(["win a free prize", "a walk in the woods", ""]))
    rows = model().evidence_rows(batch)
    assert rows.shape == (3, len(EVIDENCE.names))
    np.testing.assert_allclose(model().raw_scores(batch), rows @ model().weights - 0.5, rtol=1e-12)


def test_a_text_said_again_and_again_scores_as_if_said_once() -> None:
    once = "Win a free prize. We walked along the river and saw a heron. " * 4
    raw = model().raw_scores(PostBatch(posts_of([once, once * 5, once * 60])))
    assert raw[1:] == pytest.approx(raw[0], rel=0.02)
