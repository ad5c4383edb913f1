"""When the thread of the commits works, without Kafka: at once, and only for what is there."""

import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builders.records import StoredRecord
from builders.waiting import until
from feedmill.streams.environment import Environment, memory_shares
from feedmill.streams.kafka import commits
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Outgoing, TopicPartition
from feedmill.streams.kafka.commits import TransactionalWriter
from feedmill.streams.kafka.offsets import decode_mark
from feedmill.streams.kafka.transactional_producer import Outcome, TransactionalProducer
from feedmill.streams.kafka.validation import RejectedRecord

POSTS = TopicPartition("posts", 0)


class KeptCommits:
    """A `TransactionalProducer` that keeps what is committed; each commit waits for `may_end`.

    Attributes
    ----------
    offsets
        What each transaction committed.
    handed
        The keys that each transaction which began before `run` was filled with.
    begins
        Whether one may begin before `run`.
    is_other
        Whether another producer is to be made, see `adapt`.
    """

    is_unsure = False

    def __init__(self) -> None:
        self.commits: list[tuple[list[bytes | None], int, dict[str, str]]] = []
        self.offsets: list[dict[TopicPartition, tuple[int, str]]] = []
        self.handed: list[list[bytes | None]] = []
        self.begins, self.discarded, self.is_other = True, 0, False
        self.is_running, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def connect(self) -> None: ...

    def serve(self) -> None: ...

    def close(self) -> None: ...

    def renew(self) -> None: ...

    def adapt(self) -> bool:
        was, self.is_other = self.is_other, False
        return was

    def begin(self) -> bool:
        if self.begins:
            self.handed.append([])
        return self.begins

    def produce(self, records: Sequence[Outgoing]) -> None:
        assert not self.is_running.is_set(), "handed to a transaction that ends"
        self.handed[-1] += [one.key for one in records]

    def discard(self) -> None:
        self.discarded += 1

    def run(
        self, records: Sequence[Outgoing], offsets: dict[TopicPartition, tuple[int, str]], *_: Any
    ) -> Outcome:
        self.is_running.set()
        assert self.may_end.wait(30)
        self.is_running.clear()
        self.offsets.append(offsets)
        offset, mark = offsets.get(POSTS, (-1, ""))
        self.commits.append(([one.key for one in records], offset, decode_mark(mark).notes))
        return Outcome(committed=True)


@pytest.fixture
def kept() -> KeptCommits:
    return KeptCommits()


@pytest.fixture
def writer(kept: KeptCommits, monkeypatch: pytest.MonkeyPatch) -> Iterator[TransactionalWriter]:
    # Else the thread would look by itself after a second.
    monkeypatch.setattr(commits, "_SERVE_EVERY_S", 60.0)
    made = TransactionalWriter(
        cast(TransactionalProducer, kept),
        owner="one",
        shares=memory_shares(Environment()),
        interval_s=0.0,
    )
    made.start()
    made.assigned(AssignmentChange(1, gained=(0,), starts={POSTS: 5}), SimpleNamespace())
    until(made.is_committed)
    yield made
    kept.may_end.set()
    made.close()


def seal(writer: TransactionalWriter, key: bytes, offset: int) -> None:
    """End a cycle that wrote one record."""
    writer.add("signals.quality", key, b"1", owner=POSTS)
    writer.seal({POSTS: offset})


@pytest.fixture
def filled(writer: TransactionalWriter) -> TransactionalWriter:
    """One that commits by itself no more, and did once since its assignment."""
    writer.interval_s = 3600.0
    seal(writer, b"a", 6)
    until(writer.is_committed)
    return writer


def test_what_is_sealed_is_committed_at_once_also_during_a_commit(
    kept: KeptCommits, writer: TransactionalWriter
) -> None:
    kept.may_end.clear()
    seal(writer, b"a", 6)
    assert kept.is_running.wait(30)
    for offset, key in ((7, b"b"), (8, b"c")):
        seal(writer, key, offset)
    kept.may_end.set()
    until(writer.is_committed)
    assert kept.commits[1:] == [([b"a"], 6, {}), ([b"b", b"c"], 8, {})]


def test_one_commit_begins_an_interval_after_the_last_or_when_the_partitions_are_revoked(
    kept: KeptCommits, filled: TransactionalWriter
) -> None:
    for offset in (7, 8):
        seal(filled, b"a", offset)
    assert not filled.is_committed()
    assert [offset for _, offset, _ in kept.commits] == [5, 6]
    assert filled.revoked({})
    assert [offset for _, offset, _ in kept.commits] == [5, 6, 8]


def test_what_waited_for_another_producer_waits_for_no_interval_as_well(
    kept: KeptCommits, writer: TransactionalWriter
) -> None:
    writer.interval_s = 3600.0
    kept.is_other, kept.begins = True, False
    for offset, key in ((6, b"a"), (7, b"b")):
        seal(writer, key, offset)
        until(writer.is_committed)
    assert kept.commits[1:] == [([b"a"], 6, {}), ([b"b"], 7, {})]


def test_a_note_is_committed_without_a_record_and_with_those_of_its_cycle(
    kept: KeptCommits, writer: TransactionalWriter
) -> None:
    writer.note(POSTS, "spam.rules", "12")
    writer.seal({POSTS: 5})
    until(writer.is_committed)
    writer.note(POSTS, "spam.rules", "")
    writer.note(POSTS, "letters", "7")
    writer.commit_once({})
    until(writer.is_committed)
    seal(writer, b"a", 6)
    until(writer.is_committed)
    noted = {"spam.rules": "12"}
    assert kept.commits[1:] == [([], 5, noted), ([], 5, noted), ([b"a"], 6, {"letters": "7"})]


def test_partitions_go_with_notes_of_their_own_and_without_those_of_the_cycle(
    kept: KeptCommits, filled: TransactionalWriter
) -> None:
    other = TopicPartition("posts", 1)
    for at in (POSTS, other):
        filled.note(at, "scored.spam", "1")
    assert filled.revoked({POSTS: {"ends": "0"}})
    assert kept.commits[-1] == ([], 6, {"ends": "0"})
    notes = {POSTS: {"ends": "0 open"}}
    change = AssignmentChange(2, kept=(0,), gained=(1,), starts={POSTS: 6, other: 0}, notes=notes)
    filled.assigned(change, SimpleNamespace())
    filled.seal({POSTS: 7, other: 0})
    assert filled.revoked({})
    assert kept.commits[-1] == ([], 7, {"ends": "0 open", "scored.spam": "1"})
    assert decode_mark(kept.offsets[-1][other][1]).notes == {}


def test_an_assignment_is_claimed_at_once_and_a_cycle_that_brought_nothing_is_not_committed(
    kept: KeptCommits, writer: TransactionalWriter
) -> None:
    assert kept.commits == [([], 5, {})]
    writer.seal({POSTS: 5})
    assert writer.is_committed()
    writer.seal({POSTS: 6})
    until(writer.is_committed)
    assert [offset for _, offset, _ in kept.commits] == [5, 6]


def test_what_is_sealed_is_handed_to_the_transaction_that_has_begun_at_once(
    kept: KeptCommits, filled: TransactionalWriter
) -> None:
    for offset, key in ((7, b"b"), (8, b"c")):
        seal(filled, key, offset)
    assert kept.handed == [[b"a"], [b"b", b"c"]]
    assert filled.revoked({})
    assert kept.commits[1:] == [([b"a"], 6, {}), ([b"b", b"c"], 8, {})]
    # The partitions are another's, for all that is known: nothing begins before an assignment.
    assert len(kept.handed) == 2


def test_where_none_has_begun_what_is_sealed_waits_for_the_commit(
    kept: KeptCommits, writer: TransactionalWriter
) -> None:
    kept.begins = False
    for offset, key in ((6, b"a"), (7, b"b")):
        seal(writer, key, offset)
        until(writer.is_committed)
    assert kept.handed[1:] == []
    assert kept.commits[1:] == [([b"a"], 6, {}), ([b"b"], 7, {})]


def test_an_assignment_discards_what_was_handed_over(
    kept: KeptCommits, filled: TransactionalWriter
) -> None:
    for owner, key in ((POSTS, b"b"), (TopicPartition("posts", 1), b"c")):
        filled.add("signals.quality", key, b"1", owner=owner)
    filled.seal({POSTS: 7})
    assert kept.handed[-1] == [b"b", b"c"]
    before = kept.discarded
    filled.assigned(AssignmentChange(2, kept=(0,), starts={POSTS: 7}), SimpleNamespace())
    assert kept.discarded == before + 1
    seal(filled, b"d", 8)
    assert kept.handed[-1] == [b"b", b"c"]
    assert filled.revoked({})
    assert kept.commits[2:] == [([b"b", b"d"], 8, {})]


def test_what_is_lost_is_neither_handed_over_nor_committed(
    kept: KeptCommits, filled: TransactionalWriter
) -> None:
    filled.lost()
    seal(filled, b"b", 7)
    assert kept.handed[-1] == []
    filled.assigned(AssignmentChange(3, gained=(0,), starts={POSTS: 6}), SimpleNamespace())
    assert filled.revoked({})
    assert kept.commits[2:] == [([], 6, {})]


def rejected(offset: int, value: bytes = b"{") -> RejectedRecord:
    return RejectedRecord(POSTS, StoredRecord(offset, 7, b"bad%d" % offset, value), "why")


def test_dead_letters_are_committed_with_their_records(
    kept: KeptCommits, filled: TransactionalWriter
) -> None:
    assert filled.reject(rejected(6), "engagement", 7, owner=POSTS)
    assert not filled.reject(rejected(7), "engagement", 7, owner=POSTS, is_whole=False)
    filled.seal({POSTS: 8})
    # Of a cycle that has not ended when the transaction does.
    filled.reject(rejected(8), "engagement", 7, owner=POSTS, is_whole=False)
    filled.revoked({})
    assert kept.commits[-1] == ([b"bad6", None], 8, {})
    found = filled.statistics()
    assert (found.shared, found.dead_letters) == (1, 1)


def test_dead_letters_take_no_room_from_what_posts_lead_to(filled: TransactionalWriter) -> None:
    full_bytes = memory_shares(Environment()).uncommitted_bytes
    for n in range(full_bytes // 1_000_000 + 10):
        filled.reject(rejected(n, b"x" * 1_000_000), "engagement", 7, owner=POSTS)
    filled.seal({POSTS: 1_000})
    assert not filled.is_full
    filled.add("signals.quality", b"a", b"x" * full_bytes, owner=POSTS)
    filled.seal({POSTS: 1_001})
    assert filled.is_full


def test_it_is_known_when_the_notes_of_an_assignment_are_committed(
    kept: KeptCommits, filled: TransactionalWriter
) -> None:
    assert filled.committed_epoch == 1
    change = AssignmentChange(2, kept=(0,), starts={POSTS: 6}, notes={POSTS: {"ends": "0 open"}})
    kept.may_end.clear()
    filled.interval_s = 0.0
    filled.assigned(change, SimpleNamespace())
    assert filled.committed_epoch == 1
    kept.may_end.set()
    assert filled.revoked({})
    assert filled.committed_epoch == 2
    assert kept.commits[-1] == ([], 6, {"ends": "0 open"})


SHARDS = [TopicPartition("feed-shards", s) for s in (3, 5, 7)]


def test_shards_are_committed_once_in_an_assignment_then_the_first_and_those_with_notes(
    kept: KeptCommits, writer: TransactionalWriter
) -> None:
    notes = {SHARDS[2]: {"of seven": "1"}}
    for epoch in (2, 3):
        change = AssignmentChange(epoch, shards_gained=(3, 5, 7), notes=notes)
        writer.assigned(change, SimpleNamespace())
        until(writer.is_committed)
        assert kept.offsets[-1].keys() == set(SHARDS)
    writer.add("feed-shards", b"later", b"1", owner=SHARDS[1])
    writer.seal({})
    until(writer.is_committed)
    assert kept.commits[-1][0] == [b"later"]
    assert kept.offsets[-1].keys() == {SHARDS[0], SHARDS[2]}
    assert decode_mark(kept.offsets[-1][SHARDS[2]][1]).notes == {"of seven": "1"}


def test_the_owner_of_a_shard_is_not_that_of_the_partition_with_its_number(
    kept: KeptCommits, filled: TransactionalWriter
) -> None:
    filled.add("feed-shards", b"of posts", b"1", owner=TopicPartition("posts", 5))
    filled.add("feed-shards", b"of a shard", b"1", owner=SHARDS[1])
    filled.assigned(AssignmentChange(2, lost=(5,), shards_kept=(5,)), SimpleNamespace())
    filled.seal({})
    assert filled.revoked({})
    assert kept.commits[-1][0] == [b"of a shard"]
