"""A step knows when what it wrote last can be read again."""

from builders.events import NOW_MS
from builders.records import record, record_batch
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.scoring.last_written import LastWritten
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import LatestEvent

SIGNALS = TopicPartition("signals.spam", 0)


def written(post_id: str, offset: int, *, deleted: bool = False) -> LatestEvent:
    event = Deletion(post_id, deleted=True) if deleted else Post(post_id, "a", NOW_MS, "text")
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


def test_the_newest_of_a_cycle_are_the_last_of_what_holds_of_each_partition() -> None:
    ids = [f"p{i}" for i in range(40)]
    events = [(one, Post(one, "a", NOW_MS, "text")) for one in ids]
    batches = []
    for partition in range(3):
        own = [(key, post) for key, post in events if partition_of(key.encode(), 3) == partition]
        last = own[partition][0], None if partition else own[partition][1]
        records = [record(key, post, offset=i) for i, (key, post) in enumerate([*own, last])]
        batches.append(record_batch("posts", records, partition=partition))
    work = decode_work(batches, [], partitions=3, epoch=1, now_ms=5)
    assert not work.rejected
    ends = [part.events[-1][0].offset for part in work.partitions]
    assert [one.record.offset for one in work.newest()] == ends
    assert [one.row < 0 for one in work.newest()] == [False, True, True]


def test_the_deletion_of_a_post_that_never_was_is_not_waited_for() -> None:
    post = Post("p", "a", NOW_MS, "text")
    records = [record("p", post, offset=0), record("none", None, offset=1)]
    batches = [record_batch("posts", records)]
    work = decode_work(
        batches, [], partitions=1, epoch=1, now_ms=5, never_was=lambda _, one: one == "none"
    )
    assert [one.record.offset for one in work.newest()] == [0]
    assert [one.event for one in work.latest] == [post]
    assert len(work.partitions[0].events) == 2
