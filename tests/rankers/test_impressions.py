import numpy as np

from builders.impressions import planted_impressions
from feedmill.rankers.impressions import join


def test_joined_impressions_keep_their_posts() -> None:
    first, second = planted_impressions(10, 3, seed=1), planted_impressions(7, 2, seed=2)
    both = join([first, second])
    assert len(both) == len(first) + len(second)
    texts = [both.posts[n].text for n in both.versions]
    assert texts[: len(first)] == [first.posts[n].text for n in first.versions]
    assert texts[len(first) :] == [second.posts[n].text for n in second.versions]
    np.testing.assert_array_equal(
        both.reacted("click"), np.concatenate([first.reacted("click"), second.reacted("click")])
    )


def test_rows_are_chosen_and_posts_stay() -> None:
    rows = planted_impressions(10, 3, seed=1)
    clicked = rows.where(rows.reacted("click"))
    assert 0 < len(clicked) < len(rows)
    assert clicked.reacted("click").all()
    assert clicked.posts is rows.posts
