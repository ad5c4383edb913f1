import numpy as np
import pytest

from builders.events import post, posts_of
from feedmill.events.errors import BadArtifact
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.features.text.ngrams import BUCKETS
from feedmill.filters.model import Evidence, FilterModel, LengthCalibrator, view_score
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


LENGTHS, DEMOTE_AT = np.array([100, 200]), np.array([1.0, 2.0, -3.0])


def value(raw: float, characters: int, slope: float = 1.0, ceiling: float = 1.0) -> float:
    calibrator = LengthCalibrator(LENGTHS, DEMOTE_AT, slope, ceiling)
    return float(calibrator.value(np.array([raw]), np.array([characters]))[0])


@pytest.mark.parametrize(("characters", "raw"), [(0, 1.0), (100, 1.0), (101, 2.0), (999, -3.0)])
@pytest.mark.parametrize("ceiling", [1.0, 0.89])
def test_each_length_has_its_own_threshold(characters: int, raw: float, ceiling: float) -> None:
    assert value(raw, characters, ceiling=ceiling) == pytest.approx(0.6)


def test_values_rise_by_the_slope_in_log_odds() -> None:
    above = value(1.0 + 2.0, 50, slope=0.5)
    assert np.log(above / (1 - above)) == pytest.approx(np.log(0.6 / 0.4) + 1.0)


def test_values_come_close_to_a_ceiling_and_keep_their_order() -> None:
    values = [value(raw, 50, ceiling=0.89) for raw in (1.0, 1.5, 2.0, 3.0, 5.0)]
    assert values == sorted(set(values))
    assert 0.88 < value(50.0, 50, ceiling=0.89) <= 0.89


@pytest.mark.parametrize("ceiling", [1.0, 0.89])
def test_a_score_by_itself_has_the_same_bits_as_among_others(ceiling: float) -> None:
    random = np.random.default_rng(1)
    raw, characters = random.normal(0.0, 4.0, 500), random.integers(0, 300, 500)
    calibrator = LengthCalibrator(LENGTHS, DEMOTE_AT, 1.7, ceiling)
    alone = [value(*row, 1.7, ceiling) for row in zip(raw, characters, strict=True)]
    np.testing.assert_array_equal(calibrator.value(raw, characters), alone)


def test_no_raw_score_overflows() -> None:
    assert value(1e6, 50) == pytest.approx(1.0)
    assert value(-1e6, 50) == pytest.approx(0.0)
