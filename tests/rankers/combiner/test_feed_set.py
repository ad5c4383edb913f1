"""`FeedSet`: feeds on demand come and go with posts; those of most authors have the places."""

from random import Random

import pytest

from builders.ranked_posts import HIDDEN, Posts
from builders.shards import communities, places
from feedmill.events.partition import ALL_SHARDS, shard_of
from feedmill.rankers.combiner.feed_places import claim_order

COMMUNITIES_OF_A_POST = 16


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
        for n in range(4):
            posts.add(f"p{i}.{n}", communities=(names[i],))
    placed = made_feeds(posts)
    assert len(placed) == 2
    for n in range(60):
        # Between three and five authors are one level.
        community = n % 4
        posts.add(f"q{n}", communities=(names[community],))
        assert made_feeds(posts) == placed
        posts.delete(f"q{n}")
        posts.delete(f"p{community}.0")
        assert made_feeds(posts) == placed
        posts.add(f"p{community}.0", communities=(names[community],))


@pytest.mark.parametrize("accounts", [32, 256])
def test_a_community_of_twelve_authors_stands_under_accounts_in_sixteen_communities_each(
    accounts: int,
) -> None:
    posts, found = Posts(), communities("c", 2000)
    menders = found[0]
    posts.set("feeds/community:*", {"max_feeds": 2048})

    def order(name: str) -> int:
        return claim_order(f"community:{name}")

    # As many as the shard has places, and each goes first within a level.
    invented = [name for name in found if order(name) < order(menders)][:32]
    assert len(invented) == 32
    for n in range(12):
        posts.add(f"mend{n}", communities=(menders,))
    for n in range(accounts):
        first = n % 2 * COMMUNITIES_OF_A_POST
        posts.add(f"bot{n}", communities=invented[first : first + COMMUNITIES_OF_A_POST])
    assert len(posts.settle()[f"community:{menders}"]) == 12
    assert len(made_feeds(posts)) == 32


@pytest.mark.parametrize("seed", range(3))
def test_one_ranker_makes_the_feeds_that_two_make(seed: int) -> None:
    random = Random(seed)
    mine = frozenset(random.sample(range(64), 32))
    rankers = one, two, three = Posts(), Posts(mine), Posts(ALL_SHARDS - mine)
    names = [name for shard in range(64) for name in communities("c", 3, shard)]
    groups = [random.sample(names, COMMUNITIES_OF_A_POST) for _ in range(90)]
    for posts in rankers:
        posts.set("feeds/community:*", places(2))
        posts.set(f"weights/community:{names[0]}", {"quality": 1, "engagement": 2})
        for n, of_post in enumerate(groups):
            author = f"author{n % 30 if n % 3 else n}"
            posts.add(f"p{n}", author_id=author, communities=of_post)
    made = made_feeds(one)
    assert made == made_feeds(two) | made_feeds(three)
    assert {shard_of(feed) for feed in made_feeds(two)} == mine
    waiting = [posts.combiner.places.waiting["community:*"] for posts in rankers]
    assert waiting[0] == waiting[1] + waiting[2] > 0

    # Also once one has half of the other's shards.
    moved = frozenset(random.sample(sorted(ALL_SHARDS - mine), 16))
    three.combiner.own(ALL_SHARDS - mine - moved)
    three.settle()
    left = three.combiner.places.waiting["community:*"]
    two.combiner.own(mine | moved)
    two.settle()
    assert waiting[0] == two.combiner.places.waiting["community:*"] + left
    assert left < waiting[2]
    for posts in rankers:
        for n in range(0, 90, 4):
            posts.delete(f"p{n}")
        posts.settle()
    made = set(one.combiner.feeds)
    assert made == set(two.combiner.feeds + three.combiner.feeds)


def test_authors_are_counted_where_gates_of_another_shard_show_their_posts() -> None:
    ours = sorted(communities("c", 2), key=lambda name: claim_order(f"community:{name}"))
    others = communities("c", 9, shard=7)
    for shards in (ALL_SHARDS, frozenset({0})):
        posts = Posts(shards)
        posts.set("feeds/community:*", places(1))
        for name in others:
            posts.set(f"gates/community:{name}", {"spam": {"enabled": False}})
        for n, name in enumerate(ours):
            posts.add(f"p{n}", author_id=f"author{n}", communities=(name,))
        posts.add("flagged", author_id="author0", spam=HIDDEN, communities=(ours[0], *others))
        # Its name is first, but its author posts in nine more.
        posts.settle()
        assert f"community:{ours[1]}" in posts.combiner.feeds
        assert f"community:{ours[0]}" not in posts.combiner.feeds
        posts.delete("flagged")
        posts.settle()
        assert f"community:{ours[0]}" in posts.combiner.feeds
