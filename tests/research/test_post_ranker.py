"""The contract of `PostRanker`, on every ranker that there is."""

from typing import cast

import numpy as np
import pytest
from post_ranker import (
    Constant,
    EngagementRanker,
    MostClicked,
    PostRanker,
    SeededShuffle,
    SmoothedRate,
)

from builders.events import counters_of, post, posts_of
from feedmill.features.counters import Counters
from feedmill.rankers.engagement import ExpectedClicks
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
    engagement = EngagementRanker(cast(ExpectedClicks, load("engagement")))
    return [engagement, MostClicked(), SmoothedRate(0.02, 50.0), Constant(0.02), SeededShuffle(7)]


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


# --- baselines ------------------------------------------------------------------------------


def test_clicks_alone_make_a_post_most_clicked() -> None:
    counters = [counters_of(("click", 2)), counters_of(("like", 9), ("impression", 50))]
    np.testing.assert_array_equal(MostClicked().score_posts(posts_of("ab"), counters), [2, 0])


def test_a_rate_is_shrunken_the_more_the_fewer_impressions_there_are() -> None:
    ranker = SmoothedRate(base=0.1, prior_weight=10)
    counters = [Counters(), counters_of(("impression", 10), ("click", 2))]
    scores = ranker.score_posts(posts_of("ab"), counters)
    assert scores.tolist() == pytest.approx([0.1, 3 / 20])
    (certain,) = ranker.score_posts(posts_of("a"), [counters_of(("click", 90))])
    assert certain == pytest.approx(91 / 100)


def test_a_shuffle_is_uniform_and_depends_on_seed_and_id_alone() -> None:
    posts = posts_of(["same"] * 2_000)
    counters = [Counters()] * len(posts)
    scores = SeededShuffle(1).score_posts(posts, counters)
    assert ((scores >= 0) & (scores < 1)).all()
    np.testing.assert_allclose(np.quantile(scores, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)
    edited = [post(p.post_id, "other text", created_at_ms=5) for p in posts]
    np.testing.assert_array_equal(SeededShuffle(1).score_posts(edited, counters), scores)
    other = SeededShuffle(2).score_posts(posts, counters)
    assert abs(np.corrcoef(scores, other)[0, 1]) < 0.1
