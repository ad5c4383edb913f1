"""`FeedSet`: feeds on demand come and go with posts; those of most authors have the places."""

from random import Random

import pytest

from builders.events import HOUR_MS, NOW_MS
from builders.ranked_posts import HIDDEN, SHOWN, Posts
from builders.shards import communities, places
from feedmill.rankers.combiner.feed_places import claim_order


def made_feeds(posts: Posts) -> set[str]:
    return set(posts.settle()) - {"global"}


def test_hidden_posts_make_no_feed_and_take_no_place() -> None:
    posts = Posts()
    for i in range(1200):
        posts.add(f"spam{i}", spam=HIDDEN, communities=(f"bad{i}", f"worse{i}"), lang=f"x{i}")
    posts.add("ham", communities=("good",), lang="en")
    assert made_feeds(posts) == {"community:good", "lang:en"}
    assert posts.combiner.places.refused == 0
    assert posts.combiner.places.waiting == {"community:*": 0, "lang:*": 0}


@pytest.mark.parametrize("seed", range(5))
def test_which_feeds_have_places_does_not_depend_on_the_order_of_reading(seed: int) -> None:
    posts, random = Posts(), Random(seed)
    posts.set("feeds/community:*", places(3))
    names = communities("c", 20)
    for i in random.sample(range(60), 60):
        # The last has two authors, and so does the first, all of whose posts are hidden.
        spam = HIDDEN if i % 20 < 4 else SHOWN
        author = f"a{i % 40}" if i % 20 in (0, 19) else f"a{i % 20}"
        posts.add(f"p{i}", spam=spam, author_id=author, communities=(names[i % 20],))
        if random.random() < 0.2:
            posts.settle()
    feeds = posts.settle()
    of_one = sorted((f"community:{name}" for name in names[4:19]), key=claim_order)
    assert set(feeds) - {"global"} == {f"community:{names[19]}", *of_one[:2]}
    # One that waited has the posts from then, too.
    assert set(feeds[f"community:{names[19]}"]) == {"p19", "p39", "p59"}


def test_a_feed_that_waits_gets_the_place_of_one_that_goes() -> None:
    posts = Posts()
    posts.set("feeds/community:*", places(1))
    first, second, third = communities("c", 3)
    for i, (name, authors) in enumerate(((first, 4), (second, 2), (third, 1))):
        for n in range(authors):
            posts.add(f"p{i}.{n}", communities=(name,))
    assert made_feeds(posts) == {f"community:{first}"}
    posts.signal("spam", "p1.0", HIDDEN)
    posts.signal("spam", "p1.1", HIDDEN)  # so the second has nothing to show when its turn comes
    for n in range(4):
        posts.delete(f"p0.{n}")
    assert set(posts.settle()[f"community:{third}"]) == {"p2.0"}
    assert posts.combiner.feeds == ("global", f"community:{third}")


def test_a_community_of_several_authors_gets_a_place_of_many_invented_ones() -> None:
    posts = Posts()
    posts.set("feeds/community:*", places(8))
    invented, (menders, another) = communities("invented", 640), communities("m", 2)
    for i in range(40):
        names = invented[16 * i : 16 * i + 16]
        posts.add(f"spam{i}", author_id="spammer", communities=names)
    assert len(made_feeds(posts)) == 8
    posts.add("first", communities=(menders,))
    # Its author counts, and the spammer does not.
    assert set(posts.settle()[f"community:{menders}"]) == {"first"}
    posts.delete("first")
    assert f"community:{menders}" not in posts.settle()
    for n in range(10):
        posts.add(f"again{n}", communities=(menders,))
    assert len(posts.settle()[f"community:{menders}"]) == 10
    assert len(made_feeds(posts)) == 8
    for i in range(40):
        posts.delete(f"spam{i}")
    posts.settle()
    posts.add("other", author_id="spammer", communities=(invented[3], another))
    shown = {f"community:{name}" for name in (menders, invented[3], another)}
    assert made_feeds(posts) == shown
    assert posts.combiner.places.waiting == {"community:*": 0, "lang:*": 0}


def test_one_author_holds_few_of_the_places_that_are_short() -> None:
    posts = Posts()
    posts.set("feeds/community:*", places(100))
    squatted, new = communities("squat", 320), communities("new", 90)
    for i in range(20):
        names = squatted[16 * i : 16 * i + 16]
        posts.add(f"squat{i}", author_id="squatter", communities=names)
    for i in range(90):
        posts.add(f"p{i}", communities=(new[i],))
    made = made_feeds(posts)
    assert {f"community:{name}" for name in new} <= made
    assert len(made) == 100


def test_while_places_are_not_short_one_author_may_have_all() -> None:
    posts = Posts()
    for i in range(20):
        posts.add(f"p{i}", author_id="one", communities=tuple(f"c{i}.{n}" for n in range(16)))
    assert len(made_feeds(posts)) == 320


def test_a_feed_at_the_border_stays_while_authors_come_and_go() -> None:
    posts = Posts()
    posts.set("feeds/community:*", places(2))
    names = communities("c", 4)
    for i in range(4):
        for n in range(5):
            posts.add(f"p{i}.{n}", communities=(names[i],))
    placed = made_feeds(posts)
    assert len(placed) == 2
    for n in range(60):
        # Between four and seven authors are one level.
        community = n % 4
        posts.add(f"q{n}", communities=(names[community],))
        assert made_feeds(posts) == placed
        posts.delete(f"q{n}")
        posts.delete(f"p{community}.0")
        assert made_feeds(posts) == placed
        posts.add(f"p{community}.0", communities=(names[community],))


def test_a_window_that_ends_takes_authors_away() -> None:
    posts = Posts()
    posts.set("feeds/community:*", {**places(1), "window_hours": 1})
    old, new = communities("c", 2)
    for n in range(2):
        posts.add(f"old{n}", communities=(old,), created_at_ms=NOW_MS - HOUR_MS // 2)
    posts.add("new", communities=(new,))
    assert made_feeds(posts) == {f"community:{old}"}
    later_ms = NOW_MS + HOUR_MS // 2 + 1
    posts.combiner.tick(later_ms)
    posts.combiner.work(later_ms)
    assert posts.combiner.feeds == ("global", f"community:{new}")
