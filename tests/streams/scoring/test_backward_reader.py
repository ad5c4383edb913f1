"""Slices come from the end back, of each partition in turns, down to the first record of a time."""

from builders.fake_log import FakeLog
from builders.records import record
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.scoring.last_week import SLICE_OFFSETS, BackwardReader

NOW_MS = 1_700_000_000_000
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
    assert read_all(reader) == [
        (0, 3_000, 4_999),
        (1, 1_000, 2_999),
        (0, 1_000, 2_999),
        (1, 0, 999),
        (0, 0, 999),
    ]
    assert reader.left == 0.0
    assert log.positions() == {}


def test_nothing_is_read_from_its_end_on_or_before_its_time() -> None:
    reader = BackwardReader(log_of(500).open("test"), {ONE: 300}, NOW_MS + 40)
    assert read_all(reader) == [(0, 40, 299)]


def test_what_is_left_falls_from_one_to_nothing() -> None:
    reader = BackwardReader(log_of(2 * SLICE_OFFSETS).open("test"), {ONE: 2 * SLICE_OFFSETS}, 0)
    seen = {reader.left}
    while not reader.is_done:
        reader.read()
        seen.add(reader.left)
    assert seen == {1.0, 0.5, 0.0}


def test_offsets_that_compaction_removed_do_not_hold_it_up() -> None:
    reader = BackwardReader(log_of(500, step=10).open("test"), {ONE: 4_991}, 0)
    assert read_all(reader) == [(0, 3_000, 4_990), (0, 1_000, 2_990), (0, 0, 990)]


def test_an_empty_partition_is_done_at_once() -> None:
    assert read_all(BackwardReader(log_of(0).open("test"), {ONE: 0}, 0)) == []
