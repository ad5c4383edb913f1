"""What the demo writes, judged by the campaign code that runs in the spam filter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.features.history.post_history import PostHistory, PostVersion
from feedmill.filters import campaign
from feedmill.simulation.demo import DEFAULT_RATE, Demo

POSTS = 5000
GATE = GatePolicy()


def probabilities(posts: Sequence[Post]) -> npt.NDArray[np.float64]:
    """That each is part of a campaign, the posts coming at the preset's default rate."""
    versions = [
        PostVersion(round(number * 1000 / DEFAULT_RATE), post.post_id, post.author_id, post.text)
        for number, post in enumerate(posts)
    ]
    return campaign.campaign_probabilities(PostHistory().fold(versions))


@pytest.mark.parametrize("seed", [1, 2])
def test_ordinary_posts_are_no_campaign(seed: int) -> None:
    demo = Demo("r", np.random.default_rng(seed))
    posts, truths = zip(*(demo.post(number) for number in range(POSTS)), strict=True)
    values = probabilities(posts)[[truth.kind == "ordinary" for truth in truths]]
    assert len(values) > 3500
    assert np.count_nonzero(values >= (GATE.hide_at or 0)) == 0
    assert np.count_nonzero(values >= (GATE.demote_at or 0)) < 0.003 * len(values)


def test_a_campaign_among_them_is_found() -> None:
    demo = Demo("r", np.random.default_rng(3))
    posts = [demo.post(number)[0] for number in range(1000)]
    long = max(posts, key=lambda post: len(post.text))
    places = range(500, 740, 20)
    for i in places:
        posts[i] = Post(f"copy-{i}", f"copier-{i}", 0, f"{long.text} {i}", lang="en")
    values = probabilities(posts)[list(places)]
    assert (values[9:] >= (GATE.hide_at or 0)).all()
