"""The history in a worker says the same of a post, whoever owns the partitions around it."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from builders.fake_log import FakeLog, Topics
from builders.records import StoredRecord, record
from builders.waiting import until
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.features.near_copies import REBUILD_MS, CopyCounts, PostHistory, PostRecord
from feedmill.streams.filters import copy_history
from feedmill.streams.filters.copy_history import CopyHistory
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.worker.decoding import decode_work

PARTITIONS = 3
NOW_MS = 1_700_000_000_000
TEXT = "Buy these wonderful shoes from our shop today, they cost next to nothing, number {}"


def source(partition: int) -> TopicPartition:
    return TopicPartition("posts", partition)


def written(count: int, *, since_ms: int, every_ms: int = 1000) -> Topics:
    """Posts of which every second is a copy; a few are deleted."""
    topics: Topics = {source(p): [] for p in range(PARTITIONS)}
    dice = random.Random(5)
    for i in range(count):
        text = TEXT.format(i) if i % 2 else " ".join(f"w{dice.random()}" for _ in range(15))
        post = Post(f"p{i}", f"a{i % 40}", NOW_MS, text)
        append(topics, f"p{i}", post, since_ms + i * every_ms)
        if i % 17 == 5:
            append(topics, f"p{i}", None, since_ms + i * every_ms + 1)
    return topics


def append(topics: Topics, key: str, post: Post | None, at_ms: int) -> None:
    log = topics[source(partition_of(key.encode(), PARTITIONS))]
    log.append(record(key, post, offset=len(log), timestamp=at_ms))


def expected(topics: Topics) -> dict[tuple[int, int], CopyCounts]:
    """What one fold over everything in order says of each post."""
    merged = sorted(
        (r.timestamp, at.partition, r.offset, r) for at, log in topics.items() for r in log
    )
    batches = [RecordBatch(source(p), [one]) for _, p, _, one in merged]
    versions = []
    for batch in batches:
        work = decode_work([batch], [], partitions=PARTITIONS, now_ms=0)
        ((one, event),) = work.partitions[0].events
        text = event.text if isinstance(event, Post) else None
        author = event.author_id if isinstance(event, Post) else ""
        versions.append(PostRecord(one.timestamp, event.post_id, author, text))
    found = PostHistory().fold(versions)
    return {(p, o): past for (_, p, o, _), past in zip(merged, found, strict=True)}


def made(topics: Topics, now_ms: Callable[[], int] = lambda: NOW_MS) -> Any:
    """A history and the log that it reads."""
    log = FakeLog(topics)
    clock = SimpleNamespace(now_ms=now_ms)
    context: Any = SimpleNamespace(partitions=PARTITIONS, clock=clock, poisoned={})
    return CopyHistory(context, log.open), log


def gain(
    history: CopyHistory,
    log: FakeLog,
    starts: dict[int, int],
    lost: tuple[int, ...] = (),
    kept: tuple[int, ...] = (),
) -> None:
    history.assigned(
        AssignmentChange(
            epoch=1,
            gained=tuple(starts),
            lost=lost,
            kept=kept,
            starts={source(p): start for p, start in starts.items()},
            ends={source(p): log.end(source(p)) for p in starts},
        )
    )
    turns = 0
    while not all(history.is_ready(p) for p in starts):
        history.read()
        turns += 1
        assert turns < 1000, history.ready_reason()


def told(history: CopyHistory, *parts: tuple[int, list[StoredRecord]]) -> dict[Any, CopyCounts]:
    """What it says of the posts of one cycle."""
    work = decode_work(
        [RecordBatch(source(p), records) for p, records in parts],
        [],
        partitions=PARTITIONS,
        now_ms=NOW_MS,
    )
    places = [
        (part.source.partition, work.records[row].offset)
        for part in work.partitions
        for row in part.rows
    ]
    return dict(zip(places, history.pasts(work), strict=True))


def same_copies(found: dict[Any, CopyCounts], right: dict[Any, CopyCounts]) -> None:
    wrong = {at: past for at, past in found.items() if past.copies != right[at].copies}
    assert not wrong
    assert sum(past.copies > 5 for past in found.values()) > len(found) / 4


@pytest.mark.parametrize("reads_before", [False, True])
@pytest.mark.parametrize("own", [{0}, {0, 2}, {0, 1, 2}])
def test_a_worker_says_what_a_fold_over_all_partitions_says(
    own: set[int], reads_before: bool
) -> None:
    topics = written(400, since_ms=NOW_MS - 400_000)
    right = expected(topics)
    full = {at: list(log) for at, log in topics.items()}
    for log in topics.values():
        del log[:]
    history, reader = made(topics)
    gain(history, reader, dict.fromkeys(own, 0))
    found: dict[Any, CopyCounts] = {}
    for until_ms in range(NOW_MS - 390_000, NOW_MS + 10_000, 10_000):
        if reads_before:
            history.read()  # and everything comes while the loop waits for input
        came = {}
        for at, records in full.items():
            came[at] = [r for r in records if until_ms - 10_000 <= r.timestamp < until_ms]
            topics[at] += came[at]
        if not reads_before:
            history.read()
        found |= told(history, *((p, came[source(p)]) for p in own if came[source(p)]))
    same_copies(found, right)
    assert len(found) == sum(r.value is not None for p in own for r in full[source(p)])


def test_after_a_restart_it_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_history, "MOST_WAITING", 50)
    topics = written(900, since_ms=NOW_MS - 2 * REBUILD_MS, every_ms=2 * REBUILD_MS // 900)
    right = expected(topics)
    history, log = made(topics)
    start = len(topics[source(1)]) - 40
    gain(history, log, {1: start})
    assert log.reads[1:]
    assert all(first > 0 for _, first in log.reads[1:]), "it read everything"
    found: dict[Any, CopyCounts] = {}
    for one in topics[source(1)][start:]:
        history.read()
        found |= told(history, (1, [one]))
    same_copies(found, right)


@pytest.mark.parametrize("others_judge", [0, 30])
def test_who_began_before_it_got_partitions_says_the_same_at_once(others_judge: int) -> None:
    topics = written(900, since_ms=NOW_MS - 2 * REBUILD_MS, every_ms=2 * REBUILD_MS // 900)
    right = expected(topics)
    history, log = made(topics)
    assert history.is_prepared, "nothing was asked for"
    ends = {p: len(topics[source(p)]) for p in range(PARTITIONS)}
    starts = {p: end - 40 for p, end in ends.items()}
    history.prepare(
        AssignmentChange(
            0,
            gained=tuple(starts),
            starts={source(p): start for p, start in starts.items()},
            ends={source(p): end for p, end in ends.items()},
        )
    )
    assert not history.is_prepared
    while not history.is_prepared:
        history.read()
    reads = len(log.reads)
    # Whoever had the partition went on meanwhile.
    start = starts[1] + others_judge
    gain(history, log, {1: start})
    assert all(first >= start for _, first in log.reads[reads:]), "it began anew"
    found: dict[Any, CopyCounts] = {}
    for one in topics[source(1)][start:]:
        history.read()
        found |= told(history, (1, [one]))
    assert found == {at: right[at] for at in found}
    assert len(found) == ends[1] - start - sum(r.value is None for r in topics[source(1)][start:])


def test_partitions_far_ahead_of_one_that_has_no_more_work_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copy_history, "MOST_WAITING", 50)
    monkeypatch.setattr(copy_history, "LIVE_RECORDS", 20)
    topics = written(600, since_ms=NOW_MS - 600_000)
    history, log = made(topics)
    starts = {p: len(topics[source(p)]) - 1 for p in range(PARTITIONS)} | {0: 20}
    history.assigned(
        AssignmentChange(
            epoch=1,
            gained=(0, 1, 2),
            starts={source(p): start for p, start in starts.items()},
            ends={source(p): log.end(source(p)) for p in starts},
        )
    )
    until(lambda: history.read() and history.is_ready(0))
    told(history, (0, topics[source(0)][20:22]))
    for _ in range(100):
        history.read()
    assert [history.is_ready(p) for p in (0, 1, 2)] == [True, False, False]
    monkeypatch.setattr(copy_history, "ALONE_AFTER_S", -1.0)
    until(lambda: not history.read() and history.is_ready(1) and history.is_ready(2))


def test_a_partition_gained_later_goes_on_where_the_log_is() -> None:
    topics = written(400, since_ms=NOW_MS - 400_000)
    right = expected(topics)
    history, log = made(topics)
    # The log of 1 was followed beyond what its owner committed before it went away.
    gain(history, log, {0: len(topics[source(0)])})
    history.fold_idle()
    while history.fold_idle():
        pass
    start = len(topics[source(1)]) - 50
    gain(history, log, {1: start}, kept=(0,))
    found = told(history, (1, topics[source(1)][start:]))
    same_copies(found, right)


def test_a_partition_that_came_back_is_read_over_the_gap() -> None:
    topics = written(400, since_ms=NOW_MS - 400_000)
    right = expected(topics)
    history, log = made(topics)
    full = list(topics[source(1)])
    del topics[source(1)][60:]
    gain(history, log, {1: 0})
    told(history, (1, full[:60]))
    topics[source(1)] += full[60:]
    gain(history, log, {1: 100}, lost=(1,))
    assert (source(1), 60) in log.reads
    # 0 and 2 are followed; of 1 the records 60 to 99 come by the log, the others by work.
    same_copies(told(history, (1, full[100:])), right)


def test_what_a_gained_partition_has_counts_for_the_others_before_its_work_comes() -> None:
    topics = written(400, since_ms=NOW_MS - 400_000)
    right = expected(topics)
    full = {at: list(log) for at, log in topics.items()}
    half_ms = NOW_MS - 200_000
    for log in topics.values():
        del log[sum(record.timestamp < half_ms for record in log) :]
    history, reader = made(topics)
    gain(history, reader, {0: len(topics[source(0)])})
    gain(history, reader, {1: len(topics[source(1)]) - 20}, kept=(0,))
    # The work of 1 is late: that of 0 goes on, beside what the log brings of 1.
    waiting = topics[source(1)][-20:]
    found: dict[Any, CopyCounts] = {}
    for until_ms in range(half_ms, NOW_MS + 10_000, 10_000):
        came = {}
        for at, records in full.items():
            came[at] = [r for r in records if until_ms - 10_000 <= r.timestamp < until_ms]
            if until_ms > half_ms:
                topics[at] += came[at]
                waiting += came[at] if at == source(1) else []
        history.read()
        parts = [(0, came[source(0)])] if until_ms > half_ms else []
        if until_ms > NOW_MS - 100_000:
            parts.append((1, waiting[:30]))
            del waiting[:30]
        found |= told(history, *(part for part in parts if part[1]))
    assert not waiting
    same_copies(found, right)
    # Once the work was there, the log of 1 was left.
    assert source(1) not in reader.positions()


def test_kept_partitions_wait_for_the_log_of_those_that_were_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics = written(400, since_ms=NOW_MS - 400_000)
    history, log = made(topics)
    ends = {p: len(topics[source(p)]) for p in (0, 1)}
    gain(history, log, ends)
    history.assigned(AssignmentChange(epoch=2, lost=(1,), kept=(0,), starts={source(0): ends[0]}))
    # What others write from now on of partition 1 is not known yet.
    assert not history.is_ready(0)
    assert history.ready_reason()
    history.read()
    assert history.is_ready(0)
    assert history.ready_reason() == ""
    log.is_live = False
    assert not history.is_ready(0)
    assert history.ready_reason() == "waiting for the end of the posts before, of all partitions"
    log.is_live = True
    log.restore_again()
    assert not history.is_ready(0)
    monkeypatch.setattr(copy_history, "MOST_WAIT_S", -1.0)
    assert history.is_ready(0)


def test_posts_that_are_judged_again_after_an_expulsion_get_the_same() -> None:
    topics = written(400, since_ms=NOW_MS - 400_000)
    right = expected(topics)
    history, log = made(topics)
    start = len(topics[source(1)]) - 60
    gain(history, log, {1: start})
    posts = topics[source(1)][start:]
    same_copies(told(history, (1, posts[:40])), right)
    # Nothing of it was committed.
    gain(history, log, {1: start}, lost=(1,))
    same_copies(told(history, (1, posts)), right)


def test_what_no_model_may_judge_has_no_text_in_the_history_either() -> None:
    topics: Topics = {source(p): [] for p in range(PARTITIONS)}
    for i in range(60):
        append(topics, f"p{i}", Post(f"p{i}", f"a{i}", NOW_MS, TEXT.format(i)), NOW_MS - 60_000 + i)
    history, log = made(topics)
    poison = {p: [*range(0, log.end(source(p)), 2)] for p in range(PARTITIONS)}
    history._poisoned = {p: dict.fromkeys(posts, "by no model") for p, posts in poison.items()}
    gain(history, log, {0: log.end(source(0))})
    last = record("last", Post("last", "b", NOW_MS, TEXT.format(99)), offset=1000, timestamp=NOW_MS)
    ((_, past),) = told(history, (0, [last])).items()
    assert past.copies == 60 - sum(map(len, poison.values()))


def test_one_timestamp_in_the_future_holds_back_no_others() -> None:
    topics: Topics = {source(p): [] for p in range(PARTITIONS)}
    now_ms = NOW_MS
    history, log = made(topics, lambda: now_ms)
    gain(history, log, {0: 0})

    def write(partition: int, name: str, at_ms: int) -> StoredRecord:
        ids = (f"{name}{i}" for i in range(100))
        post_id = next(i for i in ids if partition_of(i.encode(), PARTITIONS) == partition)
        append(topics, post_id, Post(post_id, f"by-{name}", NOW_MS, TEXT.format(1)), at_ms)
        history.read()
        return topics[source(partition)][-1]

    write(1, "ahead", NOW_MS + 10 * 365 * 86_400_000)
    for i in range(5):
        write(1, f"copy{i}-", NOW_MS + i)
    now_ms += 120_000
    (past,) = told(history, (0, [write(0, "own", now_ms)])).values()
    assert past.copies == 6
