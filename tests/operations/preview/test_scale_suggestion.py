"""Scales are suggested from the posts that a feed may show, by kind."""

from typing import Any

import numpy as np
import pytest

from builders.events import NOW_MS, post, signal
from feedmill.events.errors import UsageError
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.operations.preview.scale_suggestion import SEEN, UNSEEN, Suggestion, suggest_scales
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.settings.config_log import encode_record

NAMES = SignalNames.parse("novelty:objective")
POSTS = 1_200
HOUR_MS = 3_600_000


def made_view(seen_sd: float = 0.006) -> PostView:
    """Half of the posts have engagements; every third is hidden, and says nonsense."""
    view, random = PostView(NAMES), np.random.default_rng(1)
    for number in range(POSTS):
        post_id, is_seen, is_hidden = f"p{number}", number % 2 == 0, number % 3 == 0
        made = post(post_id, communities=(f"c{number % 7}",), created_at_ms=NOW_MS)
        view.update_post(made, number, NOW_MS)
        values = dict.fromkeys(NAMES.gates, 0.99 if is_hidden else 0.01)
        values["quality"] = random.normal(0.5, 0.1)
        values["engagement"] = abs(random.normal(0.1, seen_sd if is_seen else 0.002))
        values["novelty"] = random.normal(0.5, 0.5)
        if is_hidden:
            values["engagement"] = values["quality"]
        for name, value in values.items():
            revision = number + 1 if is_seen and name == "engagement" else 0
            view.update_signal(name, signal(post_id, number, value, revision=revision))
    return view


def suggested(view: PostView, feed: str = "global", **weights: Any) -> Suggestion:
    value = {"quality": 0.5, "engagement": 0.5, **weights}
    record = encode_record(value)
    settings = Settings(NAMES).fold(b"weights", record, 0)
    return suggest_scales(view, settings, feed, NOW_MS)


def test_a_scale_is_suggested_for_each_objective_beside_the_first() -> None:
    found = suggested(made_view(), novelty=0.1, scale={"quality": 2})
    assert (found.reference, found.communities) == ("quality", 7)
    assert found.posts == POSTS - POSTS // 3
    engagement, novelty = found.scales
    # Between those of both kinds: 2 * 0.1 / 0.002 and 2 * 0.1 / 0.006.
    assert engagement.suggested == pytest.approx(200 / np.sqrt(12), rel=0.15)
    assert [*engagement.kinds] == [UNSEEN, SEEN]
    assert engagement.is_fair
    assert novelty.suggested == pytest.approx(0.4, rel=0.15)


def test_where_no_scale_is_fair_the_suggestion_says_so() -> None:
    [engagement] = suggested(made_view(seen_sd=0.03)).scales
    assert not engagement.is_fair
    assert not engagement.is_fair


def test_a_feed_of_one_community_is_judged_by_its_posts_alone() -> None:
    found = suggested(made_view(), "community:c1")
    assert found.communities == 1
    assert found.posts == pytest.approx(POSTS * 2 / 3 / 7, abs=2)


def test_what_cannot_be_suggested_is_refused() -> None:
    with pytest.raises(UsageError, match="`global` weighs quality alone"):
        suggested(made_view(), engagement=0)
    with pytest.raises(UsageError, match=r"too few pairs .* expected 200"):
        suggested(PostView(NAMES))
