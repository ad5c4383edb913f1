import numpy as np
import pytest

from builders.training_data import sentences
from feedmill.features.text.ngrams import TextBatch
from feedmill.rankers.quality import QualityModel
from feedmill.training.datasets.labelled_posts import LabelledPosts, LabelledRow, labelled_posts
from feedmill.training.fitting.linear_text import RidgePenalties
from feedmill.training.fitting.quality import RatedTexts, fit_delta, fit_quality, with_delta
from feedmill.training.fitting.trees import TreeSettings

PENALTIES = RidgePenalties(1.0, 1.0)
TREES = TreeSettings(rounds=10, leaves=4, min_rows=10)


def rated(source: str, texts: list[str], ratings: list[float]) -> LabelledPosts:
    pairs = zip(texts, ratings, strict=True)
    return labelled_posts(source, source, (LabelledRow(t, r, t[:20]) for t, r in pairs))


def test_each_construct_learns_its_own_ratings_and_the_register_tells_which_it_is() -> None:
    plain, ratings = sentences(200, 1), [float(i % 2) for i in range(200)]
    # The word that is good in one construct is bad in the other.
    first = [f"{t} {'wow' * (not r)}" for t, r in zip(plain, ratings, strict=True)]
    second = [
        f"you asked {t} {'wow' * bool(r)}" for t, r in zip(sentences(200, 2), ratings, strict=True)
    ]
    fitted = fit_quality(
        [
            RatedTexts("first", PENALTIES, rated("first", first, ratings), None),
            RatedTexts("second", PENALTIES, rated("second", second, ratings), None),
        ],
        helper_penalty=1.0,
        register_c=0.5,
        trees=TREES,
    )
    one, two = fitted.constructs
    assert one.register is None
    assert two.register is not None
    batch = TextBatch(["a plain one", "a plain one wow"])
    assert np.diff(one.rating.score(batch))[0] < -0.3
    assert np.diff(two.rating.score(batch))[0] > 0.3
    log_odds = two.register.score(TextBatch([*first[:20], *second[:20]]))
    assert log_odds[:20].max() < log_odds[20:].min()
    assert fitted.rows == {"first": 200, "second": 200}


def test_a_helper_lends_what_few_ratings_do_not_show() -> None:
    few, many = sentences(40, 1), sentences(600, 2)
    labels = [float(i % 2) for i in range(600)]
    helper = rated(
        "many", [f"{t} {'wow' * (not y)}" for t, y in zip(many, labels, strict=True)], labels
    )
    posts = rated("few", [f"{t} {'wow' * (i % 4 < 2)}" for i, t in enumerate(few)], labels[:40])
    weak = RidgePenalties(1e6, 1.0)
    alone = fit_quality([RatedTexts("a", weak, posts, None)], 1.0, 0.5, TREES)
    helped = fit_quality([RatedTexts("a", weak, posts, helper)], 1.0, 0.5, TREES)
    assert set(helped.rows) == {"few", "many"}
    assert not np.allclose(
        helped.constructs[0].rating.ngram_model.real_weights,
        alone.constructs[0].rating.ngram_model.real_weights,
    )


def test_a_delta_is_added_to_the_rating_of_every_construct() -> None:
    plain, ratings = sentences(200, 1), [float(i % 2) for i in range(200)]
    parts = [
        RatedTexts(name, PENALTIES, rated(name, plain, ratings), None) for name in ("one", "two")
    ]
    fitted = fit_quality(parts, helper_penalty=1.0, register_c=0.5, trees=TREES)
    model = QualityModel("quality", "0" * 12, fitted.constructs)
    texts = [f"{text} {'kind' * (i % 2)}" for i, text in enumerate(sentences(200, 2))]
    values = model.score_texts(TextBatch(texts))
    aim = np.clip(values + [0.1 if i % 2 else -0.1 for i in range(200)], 0, 1).tolist()
    delta = fit_delta(model, rated("three", texts, aim), PENALTIES)
    moved = with_delta(model, delta).score_texts(TextBatch(texts))
    inside = (moved > 0.02) & (moved < 0.98) & (values > 0.02) & (values < 0.98)
    assert inside.sum() > 50
    assert (moved - values)[inside] == pytest.approx(
        delta.score(TextBatch(texts))[inside], abs=0.002
    )
    assert (moved - values)[1::2].mean() > 0.02 > -0.02 > (moved - values)[::2].mean()
