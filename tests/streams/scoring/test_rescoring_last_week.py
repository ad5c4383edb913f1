"""Slices come from the end back; a worker knows when what it wrote last can be read again."""

import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog
from builders.records import record, record_batch
from feedmill.events.post import Post
from feedmill.events.signal import Signal
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.scoring.rescoring import BackwardReader, UnseenSignals
from feedmill.streams.worker.decoding import decode_work

ONE, TWO = TopicPartition("posts", 0), TopicPartition("posts", 1)


def log_of(*counts: int, step: int = 1) -> FakeLog:
    return FakeLog(
        {
            TopicPartition("posts", p): [
                record(f"p{i}", None, offset=i * step, timestamp=NOW_MS + i) for i in range(count)
            ]
            for p, count in enumerate(counts)
        }
    )


def read_all(reader: BackwardReader) -> list[tuple[int, int, int]]:
    """Partition, first and last offset of each slice."""
    slices = []
    for _ in range(1_000):
        batch = reader.read()
        if batch is not None:
            offsets = [one.offset for one in batch.records]
            assert offsets == sorted(offsets)
            slices.append((batch.source.partition, offsets[0], offsets[-1]))
        if reader.is_done:
            return slices
    raise AssertionError("it never ends")


def test_the_last_slices_come_first_and_partitions_take_turns() -> None:
    log = log_of(5_000, 3_000)
    reader = BackwardReader(log.open("test"), {ONE: 5_000, TWO: 3_000}, 0)
    assert reader.left == 1.0
    assert read_all(reader) == [
        (0, 3_000, 4_999),
        (1, 1_000, 2_999),
        (0, 1_000, 2_999),
        (1, 0, 999),
        (0, 0, 999),
    ]
    assert reader.left == 0.0
    assert log.positions() == {}


@pytest.mark.parametrize(
    ("count", "step", "end", "since_ms", "slices"),
    [
        # Nothing is read from its end on, or before its time.
        (500, 1, 300, NOW_MS + 40, [(0, 40, 299)]),
        # Offsets that compaction removed do not hold it up.
        (500, 10, 4_991, 0, [(0, 3_000, 4_990), (0, 1_000, 2_990), (0, 0, 990)]),
        (0, 1, 0, 0, []),
    ],
)
def test_each_slice_is_read_once(
    count: int, step: int, end: int, since_ms: int, slices: list[tuple[int, int, int]]
) -> None:
    reader = BackwardReader(log_of(count, step=step).open("test"), {ONE: end}, since_ms)
    assert read_all(reader) == slices


@pytest.mark.parametrize(
    ("written", "seen", "waits"),
    [
        ([("a", "text"), ("b", "text")], [("a", 0)], True),
        ([("a", "text"), ("b", "text")], [("b", 1)], False),
        ([("b", "text"), ("b", "an edit")], [("b", 0)], True),
        ([("b", "text"), ("b", "an edit")], [("b", 0), ("b", 1)], False),
        ([("a", "text"), ("a", None)], [("a", 0)], True),
        ([("a", "text"), ("a", None)], [("a", None)], False),
        # The deletion of a post that never was has no signal.
        ([("a", "text"), ("never", None)], [("a", 0)], False),
    ],
)
def test_it_waits_for_the_newest_version_that_was_written(
    written: list[tuple[str, str | None]], seen: list[tuple[str, int | None]], *, waits: bool
) -> None:
    posts = [(key, text and Post(key, "a", NOW_MS, text)) for key, text in written]
    batch = record_batch("posts", [record(k, post, offset=i) for i, (k, post) in enumerate(posts)])
    work = decode_work([batch], [], partitions=1, now_ms=5, never_was=lambda _, key: key == "never")
    unseen = UnseenSignals("signals.spam", {one.partition: one for one in work.newest})
    assert unseen.wait()
    signals = [(key, None if at is None else Signal(key, at, 0.1, "m", "1", 0)) for key, at in seen]
    unseen.see(record_batch("signals.spam", [record(key, one) for key, one in signals]))
    assert unseen.wait() is waits
