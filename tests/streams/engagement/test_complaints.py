"""Hides and reports are no weapon: who complains counts by what the account read before."""

import pytest

from builders.engagement_log import START_MS, Event, Record
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.rates import RATES, rate_value
from feedmill.features.counters import KIND_INDEX, Counters
from feedmill.rankers.reaction_rates import rate_steps
from feedmill.streams.engagement.partition_state import PartitionState, PostSource
from feedmill.streams.kafka.topic_table import DAY_MS

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
# Of a doubling, that is what lowers a value by a tenth and by a twentieth, at a cost of 20.
TENTH, TWENTIETH = 0.152 / 20, 0.074 / 20


class Community:
    """Twenty posts of a community, in one partition, that 300 readers saw an hour before."""

    def __init__(self, readers: int = 300) -> None:
        self.state, self.offset, self.at_ms = PartitionState(), 0, START_MS
        for i in range(20):
            self.state.put_post(f"p{i}", i, 0.0, START_MS, PostSource(1, i + 1))
            self.do("impression", f"p{i}", [f"r{n}" for n in range(readers)], HOUR_MS // 20)

    def do(self, kind: EngagementKind, post_id: str, users: list[str], within_ms: int) -> None:
        """Some users do this with a post, evenly within some time."""
        events: list[Event] = []
        for i, user in enumerate(users):
            at_ms = self.at_ms + i * within_ms // len(users)
            event = Engagement(post_id, user, kind, at_ms)
            events.append((Record(self.offset, at_ms, post_id.encode()), event))
            self.offset += 1
        self.at_ms += within_ms
        for start in range(0, len(events), 7):
            self.state.count(events[start : start + 7])
            self.state.pack()

    def attack(self, users: list[str], within_ms: int, *posts: str) -> None:
        """Each of the users fakes an impression of each post, and reports it at once."""
        for user in users:
            for post_id in posts:
                self.do("impression", post_id, [user], 0)
                self.do("report", post_id, [user], 0)
            self.at_ms += within_ms // len(users)

    def report(self, post_id: str) -> float:
        """The probability of a report, as the signal has it."""
        return rate_value(rate_steps("report", self.counters(post_id), RATES["report"]))

    def counters(self, post_id: str) -> Counters:
        state = self.state.find(post_id)
        assert state is not None
        return state.counters


@pytest.mark.parametrize("within_ms", [MINUTE_MS, HOUR_MS])
@pytest.mark.parametrize("readers", [0, 5, 300, 1_000])
def test_accounts_that_never_read_the_community_sink_no_post(within_ms: int, readers: int) -> None:
    """They fake an impression of the post and report it at once, one post or five of them."""
    for posts in (("p3",), ("p3", "p7", "p9", "p12", "p18")):
        community = Community(readers)
        before = {post_id: community.report(post_id) for post_id in posts}
        community.attack([f"x{n}" for n in range(300)], within_ms, *posts)
        for post_id in posts:
            assert community.report(post_id) - before[post_id] < TWENTIETH


@pytest.mark.parametrize("reading", ["before", "never"])
def test_thirty_honest_reports_of_three_hundred_readers_count(reading: str) -> None:
    """Also where no reader is known: the partition is new, or has few posts of the community."""
    community = Community(300 if reading == "before" else 0)
    community.state.put_post("new", 99, 0.0, community.at_ms, PostSource(1, 99))
    readers = [f"r{n}" for n in range(300)]
    community.do("impression", "new", readers, HOUR_MS)
    community.do("report", "new", readers[:30], 10 * MINUTE_MS)
    assert community.report("new") > 0.05


def test_two_reports_in_the_first_hundred_impressions_take_a_tenth_at_most() -> None:
    community = Community()
    community.state.put_post("new", 99, 0.0, community.at_ms, PostSource(1, 99))
    before = community.report("new")
    community.do("impression", "new", [f"r{n}" for n in range(100)], HOUR_MS)
    community.do("report", "new", ["r3", "r9"], MINUTE_MS)
    assert before < community.report("new") < before + TENTH


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


def test_a_thousand_reports_without_an_impression_count_nothing() -> None:
    community = Community()
    before = community.report("p3")
    community.do("report", "p3", [f"x{n}" for n in range(1_000)], HOUR_MS)
    assert community.report("p3") == before
    assert community.counters("p3").counts[KIND_INDEX["report"]] == 0


def test_an_account_counts_once_a_post_kind_and_day_and_whole_once_a_community() -> None:
    community = Community()
    for post_id in ("p1", "p1", "p2"):
        community.do("report", post_id, ["r1"], 0)
    kinds = KIND_INDEX["report"], KIND_INDEX["stranger report"]
    assert [community.counters("p1").counts[kind] for kind in kinds] == [1, 0]
    assert [community.counters("p2").counts[kind] for kind in kinds] == [0, 1]
    community.at_ms += 2 * DAY_MS
    community.do("impression", "p2", ["r1"], 0)
    community.do("impression", "p3", ["r1"], 0)
    community.do("report", "p2", ["r1"], 0)
    assert [community.counters("p2").counts[kind] for kind in kinds] == [1, 1]
