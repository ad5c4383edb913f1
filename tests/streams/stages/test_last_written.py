"""A step knows when what it wrote last can be read again."""

from __future__ import annotations

from builders.records import record
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.stages.last_written import LastWritten
from feedmill.streams.stages.step import LatestEvent

SIGNALS = TopicPartition("signals.spam", 0)


def written(post_id: str, offset: int, *, deleted: bool = False) -> LatestEvent:
    event = Deletion(post_id, deleted=True) if deleted else Post(post_id, "a", 0, "text")
    return LatestEvent(0, record(post_id, None, offset=offset), event, -1 if deleted else 0)


def signals(*values: tuple[str, int | None]) -> RecordBatch:
    return RecordBatch(
        SIGNALS,
        [
            record(key, None if at is None else Signal(key, at, 0.1, "m", "1", 0), offset=i)
            for i, (key, at) in enumerate(values)
        ],
    )


def test_it_waits_for_the_newest_version_that_was_written() -> None:
    last = LastWritten()
    last.note([written("a", 3), written("b", 5)])
    last.note([written("b", 7)])
    unseen = last.unseen("signals.spam", (0,))
    assert unseen.wait()
    unseen.see(signals(("a", 3), ("b", 5)))
    assert unseen.wait()
    unseen.see(signals(("b", 7)))
    assert not unseen.wait()


def test_a_deletion_is_seen_by_its_tombstone() -> None:
    last = LastWritten()
    last.note([written("a", 3, deleted=True)])
    unseen = last.unseen("signals.spam", (0,))
    unseen.see(signals(("a", 2)))
    assert unseen.wait()
    unseen.see(signals(("a", None)))
    assert not unseen.wait()


def test_partitions_of_others_are_not_waited_for() -> None:
    last = LastWritten()
    last.note([written("a", 3)])
    assert not last.unseen("signals.spam", (1,)).wait()
    last.drop([0])
    assert not last.unseen("signals.spam", (0,)).wait()
