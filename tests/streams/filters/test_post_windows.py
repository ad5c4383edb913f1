"""The windows of gained partitions: what is handed on, to whom, how much at once, and when."""

import random
from collections.abc import Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog
from builders.records import StoredRecord, record
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import WINDOW_BYTES, WINDOW_MS, WINDOW_RECORDS, SourceWindow
from feedmill.streams.filters.post_windows import SLICE_BYTES, SLICE_RECORDS, PostWindows
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.worker.step import NO_POISON, Poisoned

PARTITIONS = 6


class Taken:
    """What one taker got: by partition the offsets, and of each slice how many and its bytes."""

    def __init__(self) -> None:
        self.offsets: dict[int, list[int]] = {}
        self.slices: list[tuple[int, int]] = []

    def __call__(self, partition: int, records: Sequence[Record], posts: PostBatch) -> None:
        offsets = [one.offset for one in records]
        self.offsets.setdefault(partition, []).extend(offsets)
        assert [post.post_id.encode() for post in posts.posts] == [one.key for one in records]
        self.slices.append((len(records), sum(len(one.value or b"") for one in records)))


def posts(texts: Sequence[str | None], partition: int = 0) -> list[StoredRecord]:
    """A partition with a post of each text; a deletion for None."""
    names = (f"p{i}" for i in count())
    of_partition = (n for n in names if partition_of(n.encode(), PARTITIONS) == partition)
    events = (
        Deletion(name, True) if text is None else Post(name, "a", NOW_MS, text)
        for name, text in zip(of_partition, texts, strict=False)
    )
    return [record(event.post_id, event, offset=i) for i, event in enumerate(events)]


def made(
    logs: dict[int, list[StoredRecord]], takers: int = 1, poisoned: Poisoned = NO_POISON
) -> tuple[PostWindows, FakeLog, list[Taken]]:
    log = FakeLog({TopicPartition("posts", p): records for p, records in logs.items()})
    windows, taken = PostWindows(), [Taken() for _ in range(takers)]
    context: Any = SimpleNamespace(partitions=PARTITIONS, poisoned=poisoned)
    for taker in taken:
        windows.hand_to(taker, context, log.open)
    return windows, log, taken


def gained(epoch: int, **starts: int) -> AssignmentChange:
    """Partitions, each with the offset of its first post: `p0=600`."""
    named = {int(name[1:]): start for name, start in starts.items()}
    at = {TopicPartition("posts", p): start for p, start in named.items()}
    return AssignmentChange(epoch, gained=tuple(named), starts=at)


LONG = "a " * 10_000


@pytest.mark.parametrize(
    ("texts", "start", "first"),
    [
        (["short"] * 300, 200, 0),
        (["short"] * 5500, 5300, 5300 - WINDOW_RECORDS),
        ([LONG] * 300, 290, 290 - WINDOW_BYTES // len(LONG)),
        ([None] * 5 + ["short"] * 20 + [None] * 5, 30, 0),
    ],
)
def test_a_window_has_the_last_posts_before_the_first_that_comes(
    texts: list[str | None], start: int, first: int
) -> None:
    windows, log, [taken] = made({0: posts(texts)})
    windows.assigned(gained(1, p0=start))
    assert not windows.is_ready(0)
    assert windows.ready_reason()
    while windows.work(1.0):
        pass
    assert (windows.is_ready(0), windows.ready_reason()) == (True, "")
    expected = [i for i in range(first, start) if texts[i] is not None]
    # The bytes of a record are some more than its text's.
    assert 0 <= len(expected) - len(taken.offsets[0]) <= 2
    assert taken.offsets[0] == expected[-len(taken.offsets[0]) :]
    assert all(many <= SLICE_RECORDS and size < SLICE_BYTES + 25_000 for many, size in taken.slices)
    # Nothing is read twice.
    assert len(log.reads) == 1


@pytest.mark.parametrize("seed", range(8))
def test_posts_of_hours_ago_are_left_out_and_rates_are_those_of_who_judged_them_all(
    seed: int,
) -> None:
    drawn = random.Random(seed)
    records = posts(["short"] * 400)
    at_ms = NOW_MS
    for one in records:
        one.timestamp = at_ms + drawn.randint(-2_000, 2_000)
        at_ms += drawn.randint(0, 60_000)
        if seed % 2 and drawn.random() < 0.005:
            # The broker's clock is set.
            at_ms += drawn.choice((-5, 5)) * WINDOW_MS
    windows, _, [taken] = made({0: records})
    windows.assigned(gained(1, p0=390))
    while windows.work(1.0):
        pass
    offsets = taken.offsets[0]
    assert seed % 2 or len(offsets) < 200
    coming = records[390:391]
    assert in_window([records[i] for i in offsets] + coming) == in_window(records[:391])


def in_window(records: Sequence[StoredRecord]) -> list[float]:
    """Return the offsets of those that are left once the last one came."""
    window = SourceWindow()
    for one in records:
        window.drop_first(window.leaving(one.offset, one.timestamp, 1, 1))
        window.append(one.offset, one.timestamp, 1, float(one.offset), ())
    count = sum(1 for _ in window.from_value(-1.0))
    return [window.pop_first()[0] for _ in range(count)]


def test_all_takers_get_each_window_by_one_reading_whichever_of_them_asks() -> None:
    windows, log, taken = made({p: posts(["short"] * 100, p) for p in range(PARTITIONS)}, takers=3)
    change = gained(1, p0=100, p1=50, p2=0, p3=100, p4=100, p5=100)
    for _ in taken:
        windows.assigned(change)
    while windows.work(1.0):
        pass
    ends = {0: 100, 1: 50, 3: 100, 4: 100, 5: 100}
    assert [one.offsets for one in taken] == [{p: [*range(n)] for p, n in ends.items()}] * 3
    assert len(log.reads) == len(ends)


def test_a_call_ends_with_its_time_and_the_next_goes_on() -> None:
    windows, _, [taken] = made({0: posts(["short"] * 1000)})
    windows.assigned(gained(1, p0=1000))
    calls = 1
    while windows.work(1e-9):
        assert len(taken.slices) <= calls
        calls += 1
    assert taken.offsets[0] == [*range(1000)]


def test_a_partition_that_goes_is_left_and_one_that_comes_back_begins_anew() -> None:
    windows, _, [taken] = made({p: posts(["short"] * 300, p) for p in (0, 1)})
    windows.assigned(gained(1, p0=200, p1=200))
    while not taken.slices:
        windows.work(1e-9)
    windows.assigned(AssignmentChange(2, lost=(0,), kept=(1,)))
    taken.offsets.clear()
    while windows.work(1.0):
        pass
    assert (windows.is_ready(0), taken.offsets) == (True, {1: [*range(200)]})
    windows.assigned(gained(3, p0=300))
    while windows.work(1.0):
        pass
    assert taken.offsets[0] == [*range(300)]


def test_what_was_read_ahead_is_read_on_and_what_was_not_whole_or_is_too_far_begins_anew() -> None:
    windows, log, [taken] = made({p: posts(["short"] * 300, p) for p in range(4)})
    windows.prepare(gained(0, p0=100, p1=100, p2=290))
    assert not windows.is_prepared
    assert windows.ready_reason() == "", "nothing waits for it"
    while not windows.is_prepared:
        windows.work(1.0)
    windows.prepare(gained(0, p0=150, p3=300))
    windows.work(1e-9)
    assert not windows.is_prepared
    assert [len(taken.offsets[p]) for p in range(3)] == [100, 100, 290]
    taken.offsets.clear()
    reads = len(log.reads)
    # Another worker has 1 now, and what 2 had committed was reset.
    windows.assigned(gained(1, p0=200, p2=280, p3=300))
    assert windows.kept == {0}
    assert windows.ready_reason()
    while windows.work(1.0):
        pass
    assert taken.offsets == {0: [*range(100, 200)], 2: [*range(280)], 3: [*range(300)]}
    assert sorted(at for _, at in log.reads[reads:]) == [0, 0, 100]


def test_what_no_model_may_judge_is_in_no_window() -> None:
    poison = {7: "judged by no model", 100: "judged by no model"}
    windows, _, [taken] = made({0: posts(["short"] * 120)}, poisoned={0: poison})
    windows.assigned(gained(1, p0=120))
    while windows.work(1.0):
        pass
    assert taken.offsets[0] == [i for i in range(120) if i not in poison]
