from dataclasses import replace

import numpy as np
import pytest

from builders.events import posts_of
from builders.fuzz_targets import TREES
from feedmill.events.errors import BadArtifact
from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.shape import shape_matrix
from feedmill.models.artifact import Artifact, read_artifact
from feedmill.models.text_model import FEATURES
from feedmill.models.trees import Trees
from feedmill.rankers.quality import QualityModel, softmax
from feedmill.rankers.registry import load
from feedmill.rankers.spec import STORE

# Written for this test; none comes from a data set.
BAIT = ["You Won't Believe What This Mom Did Next!", "21 Things Only Cat People Will Understand"]

PLAIN = [
    "The council approved the new budget on Tuesday after a debate of two hours.",
    "Scientists at the institute measured the temperature of the lake for ten years.",
]

HELPFUL = "You need form 12 and two photos. Go to the office in the morning, it opens at 7 am."
USELESS = "lol same here"
EDGE = ["", " ", "a", "😀" * 40, "x" * 20_000, "日本語のテキスト"]


@pytest.fixture(scope="module")
def quality() -> QualityModel:
    model = load("quality")
    assert isinstance(model, QualityModel)
    return model


def test_quality_is_of_each_row_alone_and_in_range(quality: QualityModel) -> None:
    many = posts_of([*BAIT, *PLAIN, *EDGE])
    scores = quality.score_many(many)
    assert scores.shape == (len(many),)
    assert ((scores >= 0) & (scores <= 1)).all()
    alone = np.concatenate([quality.score_many([post]) for post in many])
    np.testing.assert_array_equal(scores, alone)
    assert quality.score_many([]).shape == (0,)


def test_bait_reads_worse_than_plain_news(quality: QualityModel) -> None:
    scores = quality.score_many(posts_of([*BAIT, *PLAIN]))
    assert scores[:2].max() < scores[2:].min()


def test_an_answer_that_helps_reads_better_than_one_that_does_not(quality: QualityModel) -> None:
    useless, helpful = quality.score_many(posts_of([USELESS, HELPFUL]))
    assert useless + 0.2 < helpful


def test_a_headline_and_an_answer_are_told_apart(quality: QualityModel) -> None:
    headlines = ["Council approves new budget", "Scientists measure lakes for ten years"]
    _, probabilities = quality.read(TextBatch([*headlines, HELPFUL, USELESS]))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1)
    assert probabilities[0, :2].min() > 0.5 > probabilities[0, 2:].max()


def test_models_that_are_joined_score_as_each_by_itself(quality: QualityModel) -> None:
    batch = TextBatch([*BAIT, *PLAIN, HELPFUL, "", "word " * 2_000])
    alone = np.array([construct.rating.score(batch) for construct in quality.constructs])
    np.testing.assert_array_equal(quality.read(batch)[0], np.clip(alone, 0.01, 0.99))
    odds = [c.register.score(batch) for c in quality.constructs if c.register is not None]
    np.testing.assert_array_equal(quality.read(batch)[1], softmax(np.array([0 * odds[0], *odds])))


def test_the_value_is_the_mean_rating_over_the_constructs_corrected_by_trees(
    quality: QualityModel,
) -> None:
    batch = TextBatch([*BAIT, *PLAIN, HELPFUL])
    ratings, probabilities = quality.read(batch)
    mean = (ratings * probabilities).sum(axis=0)
    assert (ratings >= 0.01).all()
    np.testing.assert_array_equal(replace(quality, trees=None).score_texts(batch), mean)
    columns = np.column_stack([ratings.T, shape_matrix(batch)])
    # The first column is the rating as a headline: one tree that raises the better ones.
    middle = float(np.median(columns[:, 0]))
    text = TREES.replace("idx=1", f"idx={columns.shape[1] - 1}").replace("=0.5", f"={middle}")
    trees = Trees.parse(text.replace("0.25 -0.25", "-0.25 0.75"))
    corrected = replace(quality, trees=trees).score_texts(batch)
    raised = np.where(columns[:, 0] > middle, 0.75, -0.25)
    np.testing.assert_array_equal(corrected, np.clip(mean + raised, 0.01, 0.99))
    assert corrected.max() == 0.99


def test_a_model_from_before_the_trees_is_the_mean(quality: QualityModel) -> None:
    stored = read_artifact(STORE, "quality", FEATURES)
    arrays = {key: array for key, array in stored.arrays.items() if key != "trees"}
    batch = TextBatch([*BAIT, *PLAIN, HELPFUL])
    np.testing.assert_array_equal(
        QualityModel.of(replace(stored, arrays=arrays)).score_texts(batch),
        replace(quality, trees=None).score_texts(batch),
    )


def test_a_better_rating_under_any_construct_never_lowers_the_value(quality: QualityModel) -> None:
    batch = TextBatch([*BAIT, *PLAIN, HELPFUL])
    for row, construct in enumerate(quality.constructs):
        ngrams = construct.rating.ngram_model
        better = replace(
            construct,
            rating=replace(construct.rating, ngram_model=replace(ngrams, bias=ngrams.bias + 0.2)),
        )
        constructs = (*quality.constructs[:row], better, *quality.constructs[row + 1 :])
        raised = replace(quality, constructs=constructs).score_texts(batch)
        assert (raised >= quality.score_texts(batch)).all()
        assert (raised > quality.score_texts(batch)).any()


def test_an_artifact_without_constructs_is_refused() -> None:
    with pytest.raises(BadArtifact, match=r"model `quality@0`: no constructs in it; retrain"):
        QualityModel.of(Artifact("quality", "0", {}, {}))


def test_a_register_whose_words_count_more_than_once_is_refused() -> None:
    stored = read_artifact(STORE, "quality", FEATURES)
    name = stored.metadata["constructs"][1]
    scale, bias, _ = stored.arrays[f"linear_register_{name}"].tolist()
    arrays = {**stored.arrays, f"linear_register_{name}": np.array([scale, bias, 2.0])}
    with pytest.raises(BadArtifact, match=rf"`register_{name}` has a word factor that is not 1"):
        QualityModel.of(replace(stored, arrays=arrays))
