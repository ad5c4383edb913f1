"""Which engagements wait for the posts before them; Kafka's answers are the test's."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from feedmill.streams.kafka import group
from feedmill.streams.kafka.batches import FetchedRecords, TopicPartition
from feedmill.streams.kafka.group import MOST_WAIT_S, PostsFirst
from feedmill.streams.kafka.messages import Fetched

POSTS, ENGAGEMENTS = (TopicPartition(topic, 0) for topic in ("posts", "engagements"))


class Reader:
    """Engagements of partition 0, whose posts are read to `read`; `known` are posts that are."""

    def __init__(self, *known: str) -> None:
        self.known, self.read = {*known}, 0
        self.questions: list[Future[dict[TopicPartition, int]]] = []
        offsets: Any = self
        self.order = PostsFirst(offsets)
        self.order.is_new = lambda _, post_id: post_id not in self.known

    def readable_ends(self, sources: list[TopicPartition]) -> Future[dict[TopicPartition, int]]:
        assert sources == [POSTS]
        self.questions.append(Future())
        return self.questions[-1]

    def answer(self, end: int) -> None:
        self.questions[-1].set_result({POSTS: end})

    def fetch(self, post_ids: str = "", first: int = 0, *, create_time: bool = False) -> Fetched:
        """What comes of an engagement of each post: of one letter each, at offsets from `first`."""
        records = FetchedRecords()
        records.keys = [one.encode() for one in post_ids]
        records.offsets = [*range(first, first + len(post_ids))]
        records.timestamps, records.values = [5] * len(post_ids), [b"x"] * len(post_ids)
        fetched = Fetched({ENGAGEMENTS: records} if post_ids else {})
        fetched.ends = {ENGAGEMENTS: first + len(post_ids)} if post_ids else {}
        fetched.create_times = {ENGAGEMENTS} if create_time else set()
        return self.order.let_through(fetched, {POSTS: self.read})

    def take(self, post_ids: str = "", first: int = 0) -> str:
        records = self.fetch(post_ids, first).records.get(ENGAGEMENTS)
        return "" if records is None else b"".join(k or b"" for k in records.keys).decode()


def test_engagements_of_posts_that_are_there_wait_for_nothing() -> None:
    reader = Reader("a", "b")
    fetched = reader.fetch("abba", create_time=True)
    assert fetched.records[ENGAGEMENTS].offsets == [0, 1, 2, 3]
    assert fetched.ends == {ENGAGEMENTS: 4}
    assert fetched.create_times == {ENGAGEMENTS}
    assert not reader.questions


def test_that_of_a_new_post_waits_until_posts_are_read_and_all_behind_it_do() -> None:
    reader = Reader("a")
    first = reader.fetch("aba")
    assert first.records[ENGAGEMENTS].offsets == [0]
    assert first.ends == {}  # the position stays before what waits
    assert reader.take("aa", 3) == ""
    reader.answer(7)
    reader.read = 6
    assert reader.take() == ""
    reader.read, reader.known = 7, {"a", "b"}
    last = reader.fetch()
    assert last.records[ENGAGEMENTS].offsets == [1, 2, 3, 4]
    assert last.ends == {ENGAGEMENTS: 5}
    assert len(reader.questions) == 1


def test_that_of_a_post_that_is_not_in_the_log_goes_on_then() -> None:
    reader = Reader("a")
    assert reader.take("xa") == ""
    reader.answer(0)
    # Of what came after the question the answer says nothing.
    assert reader.take("xaxa", 2) == "xa"
    reader.answer(9)
    assert reader.take() == ""
    reader.read = 9
    assert reader.take() == "xaxa"


def test_it_waits_no_longer_for_posts_that_do_not_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(group, "time", SimpleNamespace(monotonic=lambda: now[0]))
    reader = Reader()
    assert reader.take("xy") == ""
    reader.answer(7)
    for reader.read in (0, 5):
        assert reader.take() == ""
        now[0] += MOST_WAIT_S - 1
    assert reader.take() == ""
    now[0] += 1
    assert reader.take() == "xy"
    # It stands there still: what comes next waits for Kafka's answer alone.
    assert reader.take("z", 2) == ""
    reader.answer(8)
    assert reader.take() == "z"
    # It came to its end, and is waited for again.
    for offset, reader.read in ((3, 8), (4, 8)):
        assert reader.take("z", offset) == ""
        reader.answer(offset + 5)
        assert reader.take() == ("z" if offset == 3 else "")


def test_it_does_not_wait_for_a_partition_that_is_stopped() -> None:
    reader = Reader()
    assert reader.take("xy") == ""
    reader.answer(7)
    assert reader.take() == ""
    assert reader.order.let_through(Fetched(), {}).records[ENGAGEMENTS].offsets == [0, 1]


def test_it_is_asked_again_where_the_broker_was_away() -> None:
    reader = Reader()
    assert reader.take("x") == ""
    reader.questions[0].set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
    assert reader.take() == ""
    reader.answer(0)
    assert reader.take() == "x"


def test_what_waits_has_a_size_until_it_is_read_again() -> None:
    reader = Reader("a")
    assert (reader.take("axa"), reader.order.size > 400) == ("a", True)
    before = reader.order.size
    assert (reader.take("a", 3), reader.order.size) == ("", before * 3 // 2)
    reader.order.clear()
    assert reader.order.size == 0
    assert reader.take("a", 1) == "a"
