"""Whose complaints count whole: accounts that read another post of any of a post's communities."""

import pytest

from builders.engagement_log import START_MS, Record
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.features.counters import KIND_INDEX
from feedmill.streams.engagement.partition_state import PartitionState, PostSource

PYTHON, CATS, FRESH = 1, 2, 3


class Partition:
    """Posts of communities, and what one reader does with them, a second apart."""

    def __init__(self, **posts: tuple[int, ...]) -> None:
        self.state, self.offset = PartitionState(), 0
        for post_id, communities in posts.items():
            self.post(post_id, *communities)

    def post(self, post_id: str, first: int, *further: int) -> None:
        source = PostSource(first, 7, further=further)
        self.state.put_post(post_id, 100 + self.offset, 0.0, START_MS, source)
        self.state.pack()

    def do(self, kind: EngagementKind, *post_ids: str) -> None:
        for post_id in post_ids:
            at_ms = START_MS + self.offset * 1_000
            event = Engagement(post_id, "reader", kind, at_ms)
            self.state.count([(Record(self.offset, at_ms, post_id.encode()), event)])
            self.state.pack()
            self.offset += 1

    def reports(self, post_id: str) -> tuple[int, int]:
        """How many of regulars, and of strangers."""
        state = self.state.find(post_id)
        assert state is not None
        counts = state.counters.counts
        return counts[KIND_INDEX["report"]], counts[KIND_INDEX["stranger report"]]


@pytest.mark.parametrize(
    ("communities", "is_regular"),
    [((PYTHON,), True), ((FRESH, PYTHON), True), ((FRESH, CATS, PYTHON), True), ((FRESH,), False)],
)
def test_any_community_of_the_post_makes_its_readers_regulars(
    communities: tuple[int, ...], is_regular: bool
) -> None:
    partition = Partition(read=(PYTHON,), other=communities)
    partition.do("impression", "read", "other")
    partition.do("report", "other")
    assert partition.reports("other") == ((1, 0) if is_regular else (0, 1))


def test_an_impression_is_one_of_the_first_community_alone() -> None:
    """Else one post would make its readers regulars of sixteen communities."""
    partition = Partition(read=(FRESH, PYTHON), other=(PYTHON,), same=(FRESH,))
    partition.do("impression", "read", "other", "same")
    partition.do("report", "other", "same")
    assert (partition.reports("other"), partition.reports("same")) == ((0, 1), (1, 0))


def test_an_account_counts_whole_once_a_community_whichever_stand_beside_it() -> None:
    partition = Partition(
        a=(PYTHON,), b=(CATS,), one=(FRESH, PYTHON), two=(PYTHON, CATS), three=(4, CATS, PYTHON)
    )
    partition.do("impression", "a", "b", "one", "two", "three")
    partition.do("report", "one", "two", "three")
    found = [partition.reports(post_id) for post_id in ("one", "two", "three")]
    # Of python it complained at the first; at the second it is a regular of cats.
    assert found == [(1, 0), (1, 0), (0, 1)]


def test_a_post_that_comes_after_an_engagement_has_its_communities_all_the_same() -> None:
    partition = Partition(read=(PYTHON,))
    partition.do("impression", "read", "late")
    partition.post("late", FRESH, PYTHON)
    partition.do("report", "late")
    assert partition.reports("late") == (1, 0)
    # What stands in `counters` says so after a restart, too.
    state = partition.state.find("late")
    assert state is not None
    assert (state.communities, state.author) == ((FRESH, PYTHON), 7)
    # An edit changes nothing.
    partition.post("late", CATS)
    edited = partition.state.find("late")
    assert edited is not None
    assert edited.communities == (FRESH, PYTHON)
