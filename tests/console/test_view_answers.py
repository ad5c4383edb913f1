"""What pages learn from the view is what the combiner would do."""

import numpy as np
import pytest

from feedmill.console.view_answers import BINS, answer_ask
from feedmill.console.view_messages import (
    AuthorAsk,
    GatesAsk,
    PileAsk,
    PostsResult,
    PreviewAsk,
    PreviewResult,
)
from feedmill.events.errors import BadSetting, UsageError
from feedmill.events.override import Override, OverrideKey
from feedmill.events.post import Post
from feedmill.events.rates import BASES
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.view import PostView

NOW = 1_790_000_000_000
HOUR = 3_600_000
NAMES = SignalNames()
SETTINGS = Settings(names=NAMES)
PARTITIONS = 4


@pytest.fixture(scope="module")
def view() -> PostView:
    """100 posts of ten authors, each judged but the last."""
    random, view = np.random.default_rng(5), PostView(NAMES)
    for number in range(100):
        post_id, created_ms = f"p{number}", NOW - number * HOUR
        view.update_post(Post(post_id, f"a{number % 10}", created_ms, ""), number, created_ms)
        values = {"quality": random.random(), "engagement": random.random() / 20}
        values |= dict.fromkeys(NAMES.gates, random.random() ** 2)
        for name, value in values.items() if number < 99 else ():
            signal = Signal(post_id, number, float(np.float32(value)), name, "1", NOW)
            view.update_signal(name, signal)
    for post_id, times in (("p3", 3), ("p7", 5)):
        row = Signal(post_id, int(post_id[1:]), times * BASES["report"], "report", "1", NOW)
        view.update_signal("report", row)
    return view


def preview(view: PostView, **weights: float) -> PreviewResult:
    change = (
        ((("weights/global", {"quality": 0.5, "engagement": 0.5, **weights}),)) if weights else ()
    )
    found = answer_ask(PreviewAsk("global", change), view, SETTINGS, PARTITIONS, NOW)
    assert isinstance(found, PreviewResult)
    return found


def pile(view: PostView, name: str) -> PostsResult:
    found = answer_ask(PileAsk(name), view, SETTINGS, PARTITIONS, NOW)  # type: ignore[arg-type]  # a name of a pile
    assert isinstance(found, PostsResult)
    return found


def test_without_a_change_both_sides_are_the_same(view: PostView) -> None:
    found = preview(view)
    assert found.now == found.then and len(found.now.best) == 20
    assert (found.entering, found.leaving, found.moving) == (0, 0, 0)
    assert found.offsets == {"weights/global": -1, "gates/global": -1}


def test_a_change_says_the_rank_on_the_other_side(view: PostView) -> None:
    found = preview(view, engagement=0.0)
    assert found.then.weights["engagement"] == 0 and found.moving > 0
    ranks_now = {post.post_id: post.rank for post in found.now.best}
    for post in found.then.best:
        assert post.other_rank == ranks_now.get(post.post_id, post.other_rank)
    assert [post.rank for post in found.then.best] == list(range(1, 21))


def test_a_change_that_is_refused_or_of_no_feed_has_the_command_s_words(view: PostView) -> None:
    with pytest.raises(BadSetting, match=r"Expected `float` >= 0.0 - at `\$.value.quality`"):
        preview(view, quality=-1.0)
    with pytest.raises(UsageError, match="no feed `nothing`"):
        answer_ask(PreviewAsk("nothing"), view, SETTINGS, PARTITIONS, NOW)


def test_gates_are_spread_and_decided(view: PostView) -> None:
    change = (("gates/global", {"spam": {"hide_at": 0.0}}),)
    found = answer_ask(GatesAsk("global", change), view, SETTINGS, PARTITIONS, NOW)
    assert not isinstance(found, PreviewResult | PostsResult)
    assert all(len(one.counts) == BINS and sum(one.counts) == 99 for one in found.spreads)
    assert found.then["hide"] == 99 and found.then["hold"] == 1
    assert sum(found.now.values()) == 100 and found.now["hide"] < 99


def test_piles_have_what_a_moderator_looks_at_first(view: PostView) -> None:
    assert [post.post_id for post in pile(view, "reported").posts] == ["p7", "p3"]
    assert [post.post_id for post in pile(view, "held").posts] == ["p99"]
    hidden = pile(view, "hidden").posts
    assert hidden and all(post.decision == "hide" for post in hidden)
    near = pile(view, "near").posts
    values = [min(abs(post.signals["spam"] - at) for at in (0.6, 0.9)) for post in near]  # type: ignore[operator]  # is judged
    assert near and values == sorted(values) and values[-1] <= 0.05


def test_what_people_hide_is_not_hidden_by_a_model(view: PostView) -> None:
    first = pile(view, "hidden").posts[0]
    key = OverrideKey("post", first.post_id, "*")
    view.update_override(key, Override("hide", "mo", "", NOW))
    assert first.post_id not in [post.post_id for post in pile(view, "hidden").posts]
    view.update_override(key, None)


def test_the_posts_of_an_author_are_the_newest_first(view: PostView) -> None:
    found = answer_ask(AuthorAsk("a3", 4), view, SETTINGS, PARTITIONS, NOW)
    assert isinstance(found, PostsResult) and found.total == 10
    assert [post.post_id for post in found.posts] == ["p3", "p13", "p23", "p33"]
    nobody = answer_ask(AuthorAsk("nobody"), view, SETTINGS, PARTITIONS, NOW)
    assert isinstance(nobody, PostsResult) and nobody.posts == ()
