"""Up to when partitions are read, by a clock of the test's own."""

from types import SimpleNamespace

import pytest

from feedmill.streams.kafka import read_progress
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.read_progress import HELD_BACK, ReadProgress

POSTS = TopicPartition("posts", 0)


class Reader:
    """A reader of one partition that looks once a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.position = self.end = 0
        self.progress = ReadProgress()
        clock = SimpleNamespace(monotonic=lambda: self.now_s)
        monkeypatch.setattr(read_progress, "time", clock)
        self.progress.look({POSTS: 0}, lambda _: self.end)

    def second(self, *, written: int = 0, read: int = 0) -> tuple[int, str]:
        self.now_s += 1.0
        self.end += written
        self.position += read
        self.progress.look({POSTS: self.position}, lambda _: self.end)
        return self.progress.lateness(POSTS)

    def seconds(self, count: int, *, written: int = 0, read: int = 0) -> tuple[int, str]:
        return [self.second(written=written, read=read) for _ in range(count)][-1]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(monkeypatch)


def test_a_reader_that_is_always_a_little_behind_is_not_late(reader: Reader) -> None:
    reader.second(written=1000)
    assert reader.seconds(60, written=1000, read=1000) == (0, "")
    assert reader.progress.lag == {POSTS: 1000}


def test_one_that_stands_still_is_late_until_it_has_read_what_was_there(reader: Reader) -> None:
    reader.second(written=10)
    assert reader.seconds(4, written=10) == (0, "")
    assert reader.seconds(60, written=10)[0] == pytest.approx(65_000, abs=1_000)
    # It reads faster than others write, and comes to what was there a minute ago only.
    assert reader.seconds(5, written=10, read=20)[0] > 60_000
    assert reader.second(read=1000) == (0, "")


def test_a_partition_that_nobody_writes_to_is_not_late(reader: Reader) -> None:
    assert reader.seconds(600) == (0, "")


def test_what_a_transaction_holds_back_is_told_from_what_is_not_read(reader: Reader) -> None:
    reader.second(written=10, read=4)
    reader.progress.said_end(POSTS, 4)
    assert reader.seconds(10) == (11_000, HELD_BACK)
    # That one ends, and another one begins behind it.
    reader.second(read=3)
    assert reader.second()[1] == ""
    reader.progress.said_end(POSTS, 7)
    assert reader.second()[1] == HELD_BACK
    assert reader.second(read=3) == (0, "")


def test_of_a_dropped_partition_nothing_is_known(reader: Reader) -> None:
    reader.seconds(10, written=10)
    reader.progress.drop(POSTS)
    assert reader.progress.lateness(POSTS) == (0, "")
    assert reader.progress.lag == {}
