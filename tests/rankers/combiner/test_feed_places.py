"""Where places are short, those feeds have them that have more authors; `FeedAuthors` counts."""

from collections import Counter
from collections.abc import Generator
from random import Random

import numpy as np
import pytest

from builders.mapped import mapped_bytes
from builders.shards import communities
from feedmill.events.partition import ALL_SHARDS, SHARDS, shard_of
from feedmill.rankers.combiner.feed_places import FeedAuthors, FeedPlaces, claim_order

ROWS, AUTHORS, GROUPS = 300, 40, 60


class Counted:
    """Posts by row, and the authors of the feeds of their groups."""

    def __init__(self) -> None:
        self.names: dict[int, tuple[str, ...]] = {}
        self.authors = FeedAuthors(lambda group: self.names[group])
        self.authors.grow(ROWS, AUTHORS)
        self.rows: dict[int, tuple[int, int, int]] = {}

    def count(self, row: int, group: int, author: int, shown: int) -> None:
        self.authors.count(row, group, author, shown)
        self.rows[row] = group, author, shown

    def of_feeds(self) -> dict[str, set[int]]:
        """By feed the authors of its shown posts."""
        found: dict[str, set[int]] = {}
        for group, author, shown in self.rows.values():
            for place, name in enumerate(self.names.get(group, ())):
                if shown >> place & 1:
                    found.setdefault(name, set()).add(author)
        return found

    def expected(self, limit: int) -> set[str]:
        of_feeds = self.of_feeds()
        most = Counter(author for authors in of_feeds.values() for author in authors)

        def claim(name: str) -> tuple[int, int]:
            shared = sum(720_720 // most[author] for author in of_feeds[name])
            return -shared.bit_length(), claim_order(name)

        by_shard: dict[int, list[str]] = {}
        for name in sorted(of_feeds, key=claim):
            by_shard.setdefault(shard_of(name), []).append(name)
        return {name for names in by_shard.values() for name in names[:limit]}


def result_of(work: Generator[None, None, set[str]]) -> set[str]:
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: set[str] = end.value
            return found


def placed(counted: Counted, limit: int) -> set[str]:
    return result_of(counted.authors.placed(limit))


@pytest.mark.parametrize("seed", range(4))
def test_any_changes_give_what_counting_anew_gives(seed: int) -> None:
    random, counted = Random(seed), Counted()
    next_name = 0
    for step in range(3000):
        row = random.randrange(ROWS)
        group = random.randrange(GROUPS)
        if group not in counted.names:
            names = [f"c{next_name + n if random.random() < 0.5 else n}" for n in range(16)]
            next_name += 16
            counted.names[group] = tuple(names[: random.randrange(1, 17)])
        shown = random.getrandbits(len(counted.names[group])) * (random.random() < 0.7)
        counted.count(row, group, random.randrange(AUTHORS), shown)
        if step % 50 == 0:
            unused = counted.names.keys() - {of for of, _, shown in counted.rows.values() if shown}
            counted.authors.forget(unused)
            for group in unused:
                del counted.names[group]
                counted.rows = {r: one for r, one in counted.rows.items() if one[0] != group}
            for limit in (1, 2, 5, 10_000):
                expected = counted.expected(limit)
                assert placed(counted, limit) == expected
                assert counted.authors.waiting == len(counted.of_feeds()) - len(expected)
    for row in range(ROWS):
        counted.count(row, -1, -1, 0)
    assert placed(counted, 5) == set()
    assert not counted.authors._feeds_of_author.values.any()
    assert len(counted.authors._spare_pairs) == counted.authors._pair_bound < ROWS * 16


def test_a_second_post_of_an_author_in_a_feed_and_the_end_of_one_of_them_move_nothing() -> None:
    counted = Counted()
    counted.names = {0: ("c0",)}
    counted.count(0, 0, 3, 1)
    assert placed(counted, 2) == {"c0"}
    counted.count(1, 0, 3, 1)
    counted.count(0, 0, 3, 0)
    assert not counted.authors.has_moved


def test_a_feed_is_refused_once() -> None:
    counted = Counted()
    names = communities("c", 5)
    counted.names = {n: (f"community:{names[n]}",) for n in range(5)}
    for n in range(5):
        counted.count(n, n, n, 1)
    for _ in range(3):
        assert len(placed(counted, 2)) == 2
        assert counted.authors.refused == 3
    counted.count(0, 0, 0, 0)
    assert placed(counted, 4) == {f"community:{name}" for name in names[1:]}
    assert (counted.authors.waiting, counted.authors.refused) == (0, 3)


def test_what_is_counted_of_invented_communities_takes_little() -> None:
    counted, communities = Counted(), 104_000
    counted.authors.grow(communities // 16, AUTHORS)
    for row in range(communities // 16):
        counted.names[row] = tuple(f"c{16 * row + n}" for n in range(16))
        counted.authors.count(row, row, 1, 2**16 - 1)
    assert mapped_bytes(counted.authors) < 54 * communities
    found = placed(counted, 16)
    assert Counter(map(shard_of, found)) == dict.fromkeys(range(SHARDS), 16)


def test_the_order_of_names_is_that_of_the_contract() -> None:
    # Of BLAKE2b with 8 bytes the first 58 bits.
    assert claim_order("community:menders") == 194941928062448890


def test_places_become_short_when_one_more_is_wanted() -> None:
    places = FeedPlaces({"community:*": 2, "lang:*": 1000})
    assert places.has_room("community:a", beside=0)
    assert places.has_room("community:b", beside=1)
    assert places.keeps("community:a")
    assert not places.has_room("community:c", beside=2)
    assert places.uncounted == {"community:*"}
    assert places.are_short("community:c")
    assert not places.are_short("lang:en")


def test_counting_ends_where_places_are_plenty() -> None:
    places, counted = FeedPlaces({"community:*": 10}), Counted()
    names = [f"community:{name}" for name in communities("c", 12)]
    counted.names = {n: (names[n],) for n in range(12)}
    places.counts["community:*"] = counted.authors
    for n in range(12):
        counted.count(n, n, n, 1)
    assert len(result_of(places.give(ALL_SHARDS))) == 10
    assert places.waiting == {"community:*": 2}
    for n in range(3):
        counted.count(n, n, n, 0)
    given = result_of(places.give(ALL_SHARDS))
    places.end_counts(given)
    assert places.are_short("community:x")  # nine of ten are not plenty
    counted.count(3, 3, 3, 0)
    given = result_of(places.give(ALL_SHARDS))
    places.end_counts(given - {names[5]})
    assert places.are_short("community:x")  # one is not made yet
    places.end_counts(given)
    assert not places.are_short("community:x")
    assert places.keeps("community:anything")
    assert places.refused == 2
    np.testing.assert_array_equal(sorted(given), sorted(names[4:]))
