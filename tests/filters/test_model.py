from math import fsum

import numpy as np
import pytest

from builders.events import post, posts_of
from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.features.text.ngrams import BUCKETS
from feedmill.filters.model import (
    OTHERS,
    Evidence,
    FilterModel,
    LengthCalibrator,
    ValueExplanation,
    explain_post,
    view_score,
)
from feedmill.filters.registry import FILTERS, load
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


def total(explanation: ValueExplanation) -> float:
    words = [part for parts in explanation.words.values() for _, part in parts]
    evidence = [part for _, part in explanation.evidence]
    return fsum([*words, *evidence, explanation.constant, explanation.limit])


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("text", ["", "Free money, subscribe now!", "damn " * 900, "fr€e CAFÉ"])
def test_the_parts_add_up_to_the_log_odds_of_the_value(name: str, text: str) -> None:
    model = load(name)
    given = Post("p", "a", 0, text, links=("https://example.org/miracle-cure-found",))
    explanation = explain_post(model, given)
    assert explanation.value == model.score_many([given])[0]
    assert total(explanation) == pytest.approx(explanation.log_odds, abs=1e-9)
    odds = np.exp(explanation.log_odds)
    assert odds / (1 + odds) == pytest.approx(explanation.value, abs=1e-9)
    assert set(explanation.words) <= set(model.evidence.views)


def test_words_of_spam_move_the_value_more_than_others_and_the_strongest_come_first() -> None:
    (words,) = explain_post(
        load("spam"), post("p", "Subscribe to my channel, garden")
    ).words.values()
    parts = dict(words)
    assert parts["subscribe"] > parts["garden"]
    strengths = [abs(part) for _, part in words]
    assert strengths == sorted(strengths, reverse=True)


def test_of_many_words_the_weak_ones_are_one_part() -> None:
    text = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(200))
    explanation = explain_post(load("spam"), post("p", text))
    words = explanation.words["text"]
    assert (len(words), words[-1][0]) == (31, OTHERS)
    assert total(explanation) == pytest.approx(explanation.log_odds, abs=1e-9)


def test_what_the_authors_own_label_adds_is_said() -> None:
    model = load("nsfw")
    label = sorted(model.believed_self_labels)[0]
    labelled = Post("p", "a", 0, "Pasta with beans", self_labels=(label,))
    explanation = explain_post(model, labelled)
    assert explanation.value >= 0.95
    assert explanation.limit > 1
    assert total(explanation) == pytest.approx(explanation.log_odds, abs=1e-9)
