from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as changed

from builders.impressions import planted_impressions
from feedmill.events.errors import UsageError
from feedmill.rankers.impressions import Impressions
from feedmill.training.datasets.impression_arms import (
    arms_of,
    check_enough,
    seen_before,
    shown_posts,
)


def test_arms_have_the_impressions_and_reactions_of_their_version() -> None:
    rows = planted_impressions(30, 20, seed=1, likes=0.5)
    shown = shown_posts(rows)
    for kind in ("click", "like", "share"):
        arms = arms_of(rows, shown, kind)
        assert arms.texts == [post.text for post in rows.posts]
        assert set(arms.impressions.tolist()) == {20}
        expected = [int(rows.reacted(kind)[rows.versions == n].sum()) for n in range(30)]
        assert arms.clicks.tolist() == expected


def test_versions_that_nobody_was_shown_are_no_arms() -> None:
    rows = planted_impressions(30, 20, seed=1)
    rows = rows.where(rows.versions != 4)
    shown = shown_posts(rows)
    assert [post.post_id for post in shown.posts] == [f"p{i}" for i in range(30) if i != 4]
    assert [shown.posts[n].post_id for n in shown.arms] == [f"p{n}" for n in rows.versions]


def test_posts_are_compared_with_those_of_their_community_and_time() -> None:
    rows = planted_impressions(90, 1, seed=1)
    names = ["large" if n % 2 else f"small{n}" for n in range(90)]
    posts = [changed(p, communities=(c,)) for p, c in zip(rows.posts, names, strict=True)]
    shown = shown_posts(replace(rows, posts=posts))
    sizes = {group: shown.groups.count(group) for group in dict.fromkeys(shown.groups)}
    assert sizes == {
        **{"others|0": 20, "community:large|0": 20, "others|1": 20, "community:large|1": 20},
        **{"others|2": 5, "community:large|2": 5},
    }


def test_the_truth_of_an_impression_weighs_as_its_position_is_looked_at() -> None:
    rows = planted_impressions(30, 20, seed=1)
    rows = replace(rows, weights=np.full(len(rows), 0.5))
    seen = seen_before(rows)
    assert (seen.rate * seen.rest).sum() == rows.reacted("click").sum()
    assert arms_of(rows, shown_posts(rows), "click").impressions.tolist() == [10.0] * 30


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (planted_impressions(99, 20, seed=1), "found 1,980 of 99"),
        (planted_impressions(110, 9, seed=1), "found 990 of 110"),
        (
            replace(planted_impressions(200, 10, seed=1), reactions=np.zeros((2000, 4), np.bool_)),
            "found 0 and 2,000",
        ),
        (
            replace(planted_impressions(200, 10, seed=1), reactions=np.ones((2000, 4), np.bool_)),
            "found 2,000 and 0",
        ),
    ],
)
def test_too_little_to_learn_from_is_refused(rows: Impressions, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        check_enough(rows)
