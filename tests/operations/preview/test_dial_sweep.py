"""A sweep of dials shows the lists that a preview of each setting shows."""

from random import Random

from builders.contract_oracle import NAMES
from builders.drawn_world import World
from builders.events import NOW_MS, post, signal
from feedmill.events.errors import UsageError
from feedmill.events.settings import Settings
from feedmill.experiments.dials import Dial, dials_of
from feedmill.operations.preview.dial_sweep import FARTHEST, TOP, SweptFeed
from feedmill.operations.preview.feed_preview import preview_feed
from feedmill.operations.preview.view_by_log import forget_changes
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.settings.config_log import encode_record


def check_against_preview(
    view: PostView, settings: Settings, feed: str, dial: Dial, now_ms: int, doublings: int
) -> None:
    swept = SweptFeed(view, settings, feed, now_ms)
    weights = dial.weights(settings.names, swept.weights, dial.at(doublings))
    assert weights is not None
    record = encode_record(
        weights.as_dict() | {"costs": {**dict.fromkeys(NAMES.costs, 0.0), **weights.costs}}
    )
    then = settings.fold(f"weights/{feed}".encode(), record, settings.offset + 1)
    preview = preview_feed(view, feed, settings, then, now_ms, TOP)
    expected = [one.post_id for one in preview.ranked if one.rank and one.rank <= TOP]
    assert view.ids.read_many(swept.top(weights)) == expected
    now = {one.post_id for one in preview.ranked if one.rank_now and one.rank_now <= TOP}
    assert set(view.ids.read_many(swept.now)) == now
    found = swept.swept(dial, doublings)
    if found is not None and now:
        assert found.overlap == len(now & set(expected)) / len(now)
        assert found.means == preview.then.top_means
        assert (found.age_ms, found.authors) == (preview.then.top_age_ms, preview.then.top_authors)


def test_each_list_is_that_of_weights_preview() -> None:
    checked = 0
    for seed in range(120):
        random = Random(seed)
        world = World()
        for _ in range(random.randrange(2, 6)):
            world.setting(random)
        for _ in range(random.randrange(8, 60)):
            kind = random.choice(("post", "post", "signal", "signal", "override", "delete", "time"))
            getattr(world, kind)(random)
        world.tick(random)
        settings = world.combiner.settings
        for feed in ("global", "community:py", "mine"):
            if settings.feed_of(feed) is None:
                continue
            try:
                dials = dials_of([], settings.weights_of(feed), settings.names, feed)
            except UsageError:
                continue  # one objective alone
            swept = SweptFeed(world.combiner.view, settings, feed, world.now_ms)
            for dial in dials if len(swept.now) else ():
                step = random.randint(-FARTHEST, FARTHEST)
                if dial.weights(settings.names, swept.weights, dial.at(step)) is not None:
                    check_against_preview(
                        world.combiner.view, settings, feed, dial, world.now_ms, step
                    )
                    checked += 1
    assert checked > 100


def large_view(seed: int, posts: int) -> PostView:
    random, view = Random(seed), PostView(NAMES)
    for number in range(posts):
        age_ms = random.randrange(96 * 3_600_000)
        view.update_post(
            post(f"p{number:05}", author_id=f"a{number % 97}", created_at_ms=NOW_MS - age_ms),
            number,
            NOW_MS - age_ms,
        )
        values = {"quality": random.random(), "engagement": random.random() ** 4 / 10}
        for name, value in {**values, **dict.fromkeys(NAMES.gates, 0.01)}.items():
            view.update_signal(name, signal(f"p{number:05}", number, value))
    forget_changes(view)
    return view


def test_sides_are_where_half_of_the_top_stays_and_what_does_nothing_is_left_out() -> None:
    settings = Settings(names=NAMES)
    swept = SweptFeed(large_view(1, 400), settings, "global", NOW_MS)
    dials = dials_of(["beta", "half_life_hours"], swept.weights, NAMES, "global")
    sides, inert = swept.sides(dials, swept.sweep(dials))
    assert len(sides) + len(inert) == 4
    assert sides
    assert all(abs(side.overlap - 0.5) <= 0.2 for side in sides)
    alone, _ = swept.sides(dials[1:], swept.sweep(dials[1:]))
    assert len(alone) == 4
    assert {round(side.overlap * 4) for side in alone} == {2, 3}
    # No post has a report: the cost moves nothing.
    report = dials_of(["report"], swept.weights, NAMES, "global")
    _, inert = swept.sides(report, swept.sweep(report))
    assert inert == [f"costs.report {way}: 100% of the top {TOP} stay" for way in ("down", "up")]


def test_a_sweep_has_every_doubling_within_what_the_field_may_be() -> None:
    settings = Settings(names=NAMES)
    swept = SweptFeed(large_view(2, 60), settings, "global", NOW_MS)
    [dial] = dials_of(["half_life_hours"], swept.weights, NAMES, "global")
    now, *found = swept.sweep([dial])
    assert now.overlap == 1.0
    assert [one.doublings for one in found] == [n for n in range(-6, 7) if n]
    assert found[0].value == 0.375
    beyond = Dial("half_life_hours", "half_life_hours", 0.2)
    assert swept.swept(beyond, -3) is None
