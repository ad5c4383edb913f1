"""What may be committed: never past a batch that is not finished, whatever the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builders.records import StoredRecord, record_batch
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.ledger import Ledger

A, B = TopicPartition("posts", 0), TopicPartition("posts", 1)


def batch(source: TopicPartition, *offsets: int, epoch: int = 0) -> RecordBatch:
    records = map(StoredRecord, offsets)
    return record_batch(source.topic, records, partition=source.partition, epoch=epoch)


def begun(*batches: RecordBatch) -> Ledger:
    ledger = Ledger()
    ledger.restart({A: 0, B: 0})
    for one in batches:
        ledger.begin(one)
    return ledger


def test_a_batch_that_finishes_early_waits_for_those_before_it() -> None:
    first, second, third = batch(A, 0, 1), batch(A, 2), batch(A, 7, 9)  # compaction leaves gaps
    ledger = begun(first, second, third)
    ledger.finish(third)
    ledger.finish(second)
    assert ledger.take() == {}
    assert ledger.done == {A: 0, B: 0}
    ledger.finish(first)
    assert ledger.take() == {A: 10}
    assert ledger.done == {A: 10, B: 0}
    assert ledger.in_flight == 0


def test_what_was_taken_is_not_taken_again() -> None:
    first, second = batch(A, 0), batch(A, 1)
    ledger = begun(first, second)
    ledger.finish(first)
    assert ledger.take() == {A: 1}
    assert ledger.take() == {}
    ledger.finish(second)
    assert ledger.take() == {A: 2}


def test_partitions_do_not_wait_for_each_other() -> None:
    slow, quick = batch(A, 0), batch(B, 5)
    ledger = begun(slow, quick)
    ledger.finish(quick)
    assert ledger.take() == {B: 6}
    assert ledger.in_flight == 1


def test_finishing_twice_or_what_never_began_changes_nothing() -> None:
    first, second = batch(A, 0), batch(A, 1)
    ledger = begun(first, second)
    ledger.finish(batch(A, 40))
    ledger.finish(batch(TopicPartition("posts", 9), 4))
    ledger.finish(first)
    ledger.finish(first)
    assert ledger.take() == {A: 1}
    assert ledger.in_flight == 1


def test_a_restart_drops_what_was_open_and_takes_exactly_the_given_partitions() -> None:
    open_one, done_one = batch(A, 3), batch(B, 4)
    ledger = begun(open_one, done_one)
    ledger.finish(done_one)
    ledger.restart({A: 3})
    assert ledger.take() == {}, "another may have gone on from there"
    assert ledger.done == {A: 3}
    assert (ledger.start_of(A), ledger.start_of(B)) == (3, 0)
    ledger.finish(open_one)  # of before the restart
    assert ledger.take() == {}
    again = batch(A, 3, epoch=1)
    ledger.begin(again)
    ledger.finish(again)
    assert ledger.take() == {A: 4}
    assert ledger.start_of(A) == 3


def test_a_note_is_committed_at_once_and_with_every_offset_to_come() -> None:
    first = batch(A, 0)
    ledger = begun(first)
    ledger.restart({A: 7, B: 0}, {A: "before", B: None})
    assert ledger.notes == {A: "before", B: None}
    ledger.note(A, "now")
    assert (ledger.take(), ledger.notes[A]) == ({A: 7}, "now")
    again = batch(A, 7, 8)
    ledger.begin(again)
    ledger.finish(again)
    ledger.note(A, "later")
    assert (ledger.take(), ledger.notes[A]) == ({A: 9}, "later")


@given(st.data())
def test_commits_end_at_the_longest_finished_prefix(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.tuples(st.sampled_from((A, B)), st.integers(1, 4)), max_size=12))
    next_offset, batches = {A: 0, B: 0}, []
    for source, size in sizes:
        start = next_offset[source]
        batches.append(batch(source, *range(start, start + size)))
        next_offset[source] += size
    ledger, finished = begun(*batches), set[int]()
    committed = {A: 0, B: 0}
    for at in data.draw(st.permutations(range(len(batches)))):
        ledger.finish(batches[at])
        finished.add(at)
        if data.draw(st.booleans()):
            committed |= ledger.take()
            expected = {A: 0, B: 0}
            for source in (A, B):
                for i, one in enumerate(batches):
                    if one.source == source:
                        if i not in finished:
                            break
                        expected[source] = one.end
            assert committed == expected
            assert ledger.done == expected
        assert ledger.in_flight + len(finished) >= len(batches)
    committed |= ledger.take()
    assert committed == next_offset
    assert ledger.in_flight == 0
