"""`FeedSet`: feeds on demand come and go with posts; those of most authors have the places."""

from builders.ranked_posts import HIDDEN, Posts
from builders.shards import communities, places


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
