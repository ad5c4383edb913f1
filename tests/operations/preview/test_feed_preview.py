"""A preview is what the contract says of the feed, and what the combiner then makes of it."""

from random import Random
from typing import Any

import pytest

from builders.contract_oracle import GATES, NAMES
from builders.drawn_settings import draw_gate, draw_weights
from builders.drawn_world import World
from builders.events import NOW_MS, post, signal
from feedmill.events.settings import Settings
from feedmill.operations.preview.feed_preview import FeedPreview, preview_feed
from feedmill.operations.preview.view_by_log import forget_changes
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.settings.config_log import encode_record

FEEDS = ("global", "community:py", "lang:en", "mine")
CHANGES_A_WORLD = 5
WORLDS = 400


def with_change(settings: Settings, key: str, value: dict[str, Any]) -> Settings:
    return settings.fold(key.encode(), encode_record(value), settings.offset + 1)


def drawn_world(random: Random) -> World:
    """A world of which a combiner follows nothing yet."""
    world = World()
    for _ in range(random.randrange(2, 6)):
        world.setting(random)
    world.experiment(random)  # which is of no concern to a preview
    for _ in range(random.randrange(8, 40)):
        kind = random.choice(("post", "post", "signal", "signal", "override", "delete", "time"))
        getattr(world, kind)(random)
    world.tick(random)
    return world


def draw_change(random: Random, feed: str) -> dict[str, dict[str, Any]]:
    """By key the new values of weights or gates of a feed, or both."""
    kinds = random.choice((("weights",), ("gates",), ("weights", "gates")))
    drawn: dict[str, dict[str, Any]] = {
        "weights": draw_weights(random),
        "gates": {name: draw_gate(random) for name in GATES if random.random() < 0.5},
    }
    return {f"{kind}/{feed}": drawn[kind] for kind in kinds}


def check(shown: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [post_id for post_id, _ in shown] == [post_id for post_id, _ in expected]
    for (_, score), (_, true) in zip(shown, expected, strict=True):
        assert score == pytest.approx(true, abs=1e-9, rel=0)


def sides(preview: FeedPreview) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The feed now and then."""
    now = [(p.rank_now, p.post_id, p.score_now) for p in preview.ranked if p.rank_now is not None]
    then = [(p.rank, p.post_id, p.score) for p in preview.ranked if p.rank is not None]
    assert then == sorted(then)
    return [(i, s or 0.0) for _, i, s in sorted(now)], [(i, s or 0.0) for _, i, s in then]


def check_one_change(world: World, random: Random) -> bool:
    """Preview a change and compare with the oracle; whether the feed changes."""
    feed = random.choice(FEEDS)
    now = then = world.combiner.settings
    if now.feed_of(feed) is None:
        return False
    change = draw_change(random, feed)
    for key, value in change.items():
        then = with_change(then, key, value)
    preview = preview_feed(world.combiner.view, feed, now, then, world.now_ms, top=2)
    before, after = sides(preview)
    oracle = world.oracle
    check(before, oracle.feed(feed, world.now_ms))
    kept, oracle.settings = oracle.settings, {**oracle.settings, **change}
    check(after, oracle.feed(feed, world.now_ms))
    oracle.settings = kept
    assert {p.post_id for p in preview.entering} == dict(after).keys() - dict(before).keys()
    assert {p.post_id for p in preview.leaving} == dict(before).keys() - dict(after).keys()
    for side, ranking in ((preview.now, before), (preview.then, after)):
        authors = [oracle.posts[post_id]["post"].author_id for post_id, _ in ranking]
        assert (side.posts, side.authors) == (len(authors), len(set(authors)))
        assert side.top_authors == len(set(authors[:2]))
        for name, mean in side.top_means.items():
            values = [oracle.last_good(post_id, name) for post_id, _ in ranking[:2]]
            assert mean == pytest.approx(sum(values) / len(values))
    return before != after


def test_a_preview_is_what_the_contract_says() -> None:
    changed = 0
    for number in range(WORLDS):
        random = Random(number)
        world = drawn_world(random)
        changed += sum(check_one_change(world, random) for _ in range(CHANGES_A_WORLD))
    assert changed > WORLDS / 2  # a preview that changes nothing shows little


@pytest.mark.parametrize("seed", range(20))
def test_a_change_that_is_applied_does_what_its_preview_said(seed: int) -> None:
    random = Random(seed)
    world = drawn_world(random)
    feed = random.choice(FEEDS[:3])
    combiner = world.combiner
    then = combiner.settings
    for key, value in draw_change(random, feed).items():
        then = with_change(then, key, value)
    preview = preview_feed(combiner.view, feed, combiner.settings, then, world.now_ms, top=5)
    combiner.cycle(world.now_ms)
    combiner.apply(then)
    combiner.cycle(world.now_ms)
    written = combiner.ranking(feed).written if feed in combiner.feeds else {}
    _, previewed = sides(preview)
    check([(i, written[i]) for i in sorted(written, key=list(written).index)], previewed)


def test_posts_from_outside_the_stored_list_enter() -> None:
    """A feed of 100 keeps a reserve; under other weights the best of all posts come in."""
    view = PostView(NAMES)
    for number in range(3_000):
        post_id = f"p{number:04}"
        made = post(post_id, author_id=f"a{number}", created_at_ms=NOW_MS)
        view.update_post(made, number, NOW_MS)
        for name in NAMES.all:
            value = {"quality": number / 3_000, "engagement": 0.1 - number / 30_000}.get(name, 0.0)
            view.update_signal(name, signal(post_id, number, value))
    now = with_change(Settings(NAMES), "feeds/global", {"size": 100})
    now = with_change(now, "weights", {"quality": 1, "engagement": 0})
    then = with_change(now, "weights/global", {"quality": 0, "engagement": 1})
    preview = preview_feed(view, "global", now, then, NOW_MS, top=10)
    assert [p.post_id for p in preview.entering] == [f"p{n:04}" for n in range(100)]
    assert [p.rank_now for p in preview.leaving] == [*range(1, 101)]
    assert not preview.moving
    assert preview.now.top_means["quality"] > 0.99
    assert preview.then.top_means["quality"] < 0.01


def test_rows_of_deleted_posts_are_used_again_while_a_view_is_read() -> None:
    world = World()
    random = Random(5)
    for _ in range(400):
        world.post(random)
        world.delete(random)
        forget_changes(world.combiner.view)
    assert world.combiner.view.ids.bound <= 16
