import numpy as np
import pytest

from builders.events import counters_of, post, posts_of
from feedmill.features.counters import Counters
from feedmill.rankers.baselines import (
    Constant,
    MostClicked,
    NewestFirst,
    SeededShuffle,
    SmoothedRate,
)

NONE = [Counters(), Counters()]


def test_the_newest_post_is_first() -> None:
    old, new = post("old", created_at_ms=1_000), post("new", created_at_ms=1_001)
    low, high = NewestFirst().score_posts([old, new], NONE)
    assert low < high


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


def test_a_constant_says_the_same_of_each_post() -> None:
    counters = [counters_of(("click", 2)), Counters()]
    assert Constant(0.3).score_posts(posts_of("ab"), counters).tolist() == [0.3, 0.3]


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
