"""The contract of `PostRanker`, on every ranker that there is."""

from typing import cast

import numpy as np
import pytest

from builders.events import counters_of, post
from feedmill.features.counters import Counters
from feedmill.models.text_model import TextModel
from feedmill.rankers.baselines import baselines
from feedmill.rankers.engagement import EngagementModel
from feedmill.rankers.post_ranker import EngagementRanker, PostRanker, TextRanker, WeightedSum
from feedmill.rankers.registry import load

TEXTS = ("", "A walk by the river", "21 Things Only Cat People Will Understand", "日本語")
POSTS = [post(f"p{i}", text, created_at_ms=10**12 + i) for i, text in enumerate(TEXTS)]
COUNTERS = [
    Counters(),
    counters_of(("impression", 90), ("click", 2)),
    counters_of(("click", 3)),
    counters_of(("impression", 4), ("like", 2), ("report", 1)),
]


def rankers() -> list[PostRanker]:
    text = TextRanker(cast(TextModel, load("quality")))
    engagement = EngagementRanker(cast(EngagementModel, load("engagement")))
    return [text, engagement, WeightedSum(text, engagement, 0.5, 5.0), *baselines(0.02, 50.0, 7)]


@pytest.mark.parametrize("ranker", rankers(), ids=lambda ranker: ranker.name)
def test_a_score_is_finite_repeatable_and_of_each_post_alone(ranker: PostRanker) -> None:
    scores = ranker.score_posts(POSTS, COUNTERS)
    assert scores.shape == (len(POSTS),)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(ranker.score_posts(POSTS, COUNTERS), scores)
    alone = [
        ranker.score_posts([p], [c])[0] for p, c in zip(POSTS[::-1], COUNTERS[::-1], strict=True)
    ]
    np.testing.assert_array_equal(alone[::-1], scores)
    assert ranker.score_posts([], []).shape == (0,)


def test_the_names_of_rankers_differ() -> None:
    names = [ranker.name for ranker in rankers()]
    assert len(set(names)) == len(names)


def test_a_weighted_sum_adds_the_two_values() -> None:
    text, engagement, both, *_ = rankers()
    expected = 0.5 * text.score_posts(POSTS, COUNTERS) + 5 * engagement.score_posts(POSTS, COUNTERS)
    np.testing.assert_allclose(both.score_posts(POSTS, COUNTERS), expected)
    assert both.name == "0.5 quality + 5 engagement"


def test_engagement_follows_the_counts_and_text_does_not() -> None:
    text, engagement, *_ = rankers()
    liked = [counters_of(("impression", 100), ("click", 60))] * len(POSTS)
    np.testing.assert_array_equal(text.score_posts(POSTS, liked), text.score_posts(POSTS, COUNTERS))
    unseen = engagement.score_posts(POSTS, [Counters()] * len(POSTS))
    assert (engagement.score_posts(POSTS, liked) > unseen).all()
