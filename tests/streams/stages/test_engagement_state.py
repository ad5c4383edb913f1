"""Exactly-once counts: a run that crashes anywhere ends as one that was never disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.records import StoredRecord
from feedmill.events.engagement import ENGAGEMENT_KINDS, Engagement
from feedmill.streams.stages.engagement_state import (
    DEDUPLICATED_MS,
    PartitionState,
    PostState,
    RecentEvents,
    decode_state,
    encode_state,
)

START_MS = 1_700_000_000_000


@dataclass
class Record:
    """As the consumer hands it out."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None = None


Event = tuple[Record, Engagement]


def draw_log(random: Random, length: int) -> list[Event]:
    """Engagements of a few posts, ids that come again sooner or later, dates before and after."""
    log, at_ms, offset = [], START_MS, 0
    for _ in range(length):
        at_ms += random.choice((0, 1, 500, 20_000, 90_000, 299_999, 300_000, 600_000))
        offset += random.choice((1, 1, 1, 4))
        post_id = f"p{random.randrange(5)}"
        event = Engagement(
            post_id=post_id,
            user_id="u",
            kind=random.choice(ENGAGEMENT_KINDS),
            at_ms=at_ms - random.choice((0, 3, 7_000_000, -90_000)),
            event_id=random.choice((None, *(f"e{i}" for i in range(6)))),
            dwell_ms=random.choice((None, 12.5, 900.0)),
        )
        log.append((Record(offset, at_ms, post_id.encode()), event))
    return log


def undisturbed(log: list[Event]) -> tuple[dict[str, bytes], dict[int, bool]]:
    """Each post's state, and by offset whether the event repeats another."""
    state, recent = PartitionState(), RecentEvents()
    repeats = {}
    for record, event in log:
        repeats[record.offset] = recent.repeats(event, record.timestamp)
        counted = state.count(event, record)
        assert (counted is None) == repeats[record.offset]
    return {post: encode_state(one) for post, one in state.posts.items()}, repeats


def recent_before(log: list[Event], start: int, recent: RecentEvents) -> None:
    """What the stage does on assignment: read the ten minutes before its committed offset."""
    before = [(record, event) for record, event in log if record.offset < start]
    if not before:
        return
    since_ms = before[-1][0].timestamp - DEDUPLICATED_MS
    for record, event in before:
        if record.timestamp >= since_ms:
            recent.repeats(event, record.timestamp)


def _through(record: Record) -> int:
    return decode_state(record.value or b"").through


class Partition:
    """The topics of one partition, and the owners that come and go."""

    def __init__(self, log: list[Event], random: Random) -> None:
        self.log, self.random = log, random
        self.counters: list[Record] = []
        self.committed = 0
        self.late: list[Record] = []  # of a paused owner, written after its successor's

    def write(self, states: list[PostState]) -> None:
        for one in states:
            value = encode_state(one)
            self.counters.append(Record(len(self.counters), 0, one.post_id.encode(), value))

    def compacted(self) -> list[Record]:
        """`counters`, with some of the superseded records gone.

        A late record comes well within the lag of compaction: what it outdoes is still there.
        """
        furthest: dict[bytes | None, int] = {}
        for record in self.counters:
            furthest[record.key] = max(furthest.get(record.key, -1), _through(record))
        last = {record.key: record.offset for record in self.counters}
        return [
            record
            for record in self.counters
            if last[record.key] == record.offset
            or furthest[record.key] == _through(record)
            or self.random.random() < 0.5
        ]

    def own(self, repeats: dict[int, bool], *, to_end: bool) -> PartitionState:
        """Take the partition over, go on from the committed offset, crash somewhere."""
        state = PartitionState()
        outdone = state.restore(self.compacted())
        self.write([state.posts[post_id] for post_id in sorted(outdone)])
        recent_before(self.log, self.committed, state.recent)
        todo = [one for one in self.log if one[0].offset >= self.committed]
        while todo:
            size = self.random.randint(1, 12)
            batch, todo = todo[:size], todo[size:]
            touched = {}
            for record, event in batch:
                through = state.post(event.post_id).through
                counted = state.count(event, record)
                fresh = record.offset > through
                assert (counted is not None) == (fresh and not repeats[record.offset])
                if counted is not None:
                    touched[event.post_id] = counted
            states = list(touched.values())
            if not to_end and self.random.random() < 0.25:
                self._crash(states)
                return state
            self.write(states)
            if self.random.random() < 0.5:
                self.committed = batch[-1][0].offset + 1
        return state

    def _crash(self, states: list[PostState]) -> None:
        written = self.random.randint(0, len(states))
        self.write(states[:written])
        if self.random.random() < 0.3:
            # Its last records are under way still: they come after what the successor writes.
            rest = [Record(0, 0, s.post_id.encode(), encode_state(s)) for s in states[written:]]
            self.late += rest

    def let_late_ones_in(self) -> None:
        for record in self.late:
            offset = len(self.counters)
            self.counters.append(Record(offset, 0, record.key, record.value))
        self.late = []


def run(seed: int, length: int, crashes: int) -> None:
    random = Random(seed)
    log = draw_log(random, length)
    expected, repeats = undisturbed(log)
    partition = Partition(log, random)
    for _ in range(crashes):
        partition.own(repeats, to_end=False)
        if random.random() < 0.5:
            partition.let_late_ones_in()
    state = partition.own(repeats, to_end=True)
    partition.let_late_ones_in()
    # Bit for bit: JSON writes every float so that it reads back the same.
    assert {post: encode_state(one) for post, one in state.posts.items()} == expected
    restored = PartitionState()
    restored.restore(partition.counters)
    assert {post: encode_state(one) for post, one in restored.posts.items()} == expected


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), length=st.integers(0, 120), crashes=st.integers(0, 8))
def test_crashes_anywhere_change_no_count_and_no_decayed_sum(
    seed: int, length: int, crashes: int
) -> None:
    run(seed, length, crashes)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 150))
def test_ten_minutes_read_again_give_the_verdicts_of_an_undisturbed_run(
    seed: int, length: int
) -> None:
    random = Random(seed)
    log = draw_log(random, length)
    _, repeats = undisturbed(log)
    start = random.choice(log)[0].offset
    recent = RecentEvents()
    recent_before(log, start, recent)
    for record, event in log:
        if record.offset >= start:
            assert recent.repeats(event, record.timestamp) == repeats[record.offset]


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_an_event_repeats_if_its_id_stands_in_the_ten_minutes_before(seed: int) -> None:
    log = draw_log(Random(seed), 100)
    _, repeats = undisturbed(log)
    for i, (record, event) in enumerate(log):
        same = [
            earlier.timestamp
            for earlier, other in log[:i]
            if (other.post_id, other.event_id) == (event.post_id, event.event_id)
        ]
        within = any(record.timestamp - at <= DEDUPLICATED_MS for at in same)
        assert repeats[record.offset] == (event.event_id is not None and within)


@pytest.mark.parametrize(("gap_ms", "repeats"), [(0, True), (600_000, True), (600_001, False)])
def test_the_window_is_ten_minutes_of_record_time(gap_ms: int, repeats: bool) -> None:
    recent = RecentEvents()
    event = Engagement("p", "u", "like", 0, "e")
    assert not recent.repeats(event, START_MS)
    assert recent.repeats(event, START_MS + gap_ms) == repeats


def test_the_same_id_on_another_post_and_no_id_at_all_are_no_repetition() -> None:
    recent = RecentEvents()
    for event in (
        Engagement("p", "u", "like", 0, "e"),
        Engagement("q", "u", "like", 0, "e"),
        Engagement("p", "u", "like", 0),
        Engagement("p", "u", "like", 0),
    ):
        assert not recent.repeats(event, START_MS)


def test_recent_ids_are_forgotten_after_their_window() -> None:
    recent = RecentEvents()
    for i in range(5000):
        recent.repeats(Engagement("p", "u", "like", 0, f"e{i}"), START_MS + i * 1000)
        recent.repeats(Engagement("p", "u", "like", 0, "same"), START_MS + i * 1000)
    assert len(recent) <= 602
    assert len(recent._order) <= 2 * 602


def test_a_date_after_the_records_own_is_clamped() -> None:
    state = PartitionState()
    one = state.count(Engagement("p", "u", "like", START_MS + 99), Record(4, START_MS, b"p"))
    assert one is not None
    assert max(one.counters.at_ms) == START_MS
    assert (one.through, one.at_ms, one.post_offset) == (4, START_MS, -1)


def stored(post_id: str, through: int, post_offset: int = 1) -> StoredRecord:
    value = encode_state(PostState(post_id, post_offset, 0.5, through, START_MS))
    return StoredRecord(key=post_id.encode(), value=value)


def test_the_furthest_record_holds_and_is_named_to_be_written_again() -> None:
    state = PartitionState()
    deleted = StoredRecord(key=b"gone", value=None)
    records = [stored("p", 9), stored("p", 7), stored("q", 1), stored("q", 2)]
    records += [stored("gone", 9), stored("gone", 3), deleted]
    assert state.restore(records) == {"p"}
    assert {post: one.through for post, one in state.posts.items()} == {"p": 9, "q": 2}
    caught_up = PartitionState()
    assert caught_up.restore([stored("p", 9), stored("p", 7), stored("p", 11)]) == set()
    edited = PartitionState()
    assert edited.restore([stored("p", 9, 5), stored("p", 9, 2)]) == {"p"}
    assert edited.posts["p"].post_offset == 5


def test_a_state_reads_back_as_it_was_written() -> None:
    state = PartitionState()
    for record, event in draw_log(Random(1), 50):
        state.count(event, record)
    for one in state.posts.values():
        assert decode_state(encode_state(one)) == one
