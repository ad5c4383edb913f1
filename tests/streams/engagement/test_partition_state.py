"""Exactly-once counts: a run that crashes anywhere ends as one that was never disturbed."""

import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.engagement_log import START_MS, Event, Record, draw_log, needed_before
from builders.mapped import mapped_bytes
from builders.records import StoredRecord
from builders.work import bytecode_steps
from feedmill.events.engagement import ENGAGEMENT_KINDS, Engagement, EngagementKind
from feedmill.features.counters import KIND_INDEX
from feedmill.streams.engagement.packed_states import (
    KEPT_BY_EDIT,
    PostState,
    decode_state,
    encode_state,
)
from feedmill.streams.engagement.partition_state import PartitionState, PostSource, Uncounted
from feedmill.streams.environment import Environment

# So short that users are forgotten within a drawn log.
USER_WINDOW = 30


def encoded(state: PartitionState, log: list[Event]) -> dict[str, bytes]:
    """Each post's state as `counters` holds it."""
    found = {event.post_id: state.find(event.post_id) for _, event in log}
    return {post_id: encode_state(one) for post_id, one in found.items() if one is not None}


def undisturbed(log: list[Event]) -> tuple[dict[str, bytes], dict[int, Uncounted]]:
    """Each post's state, and by offset why it does not count."""
    state = PartitionState(Environment(user_window=USER_WINDOW))
    take_posts(state)
    reasons = state.count(log)
    state.pack()
    offsets = [record.offset for record, _ in log]
    return encoded(state, log), dict(zip(offsets, reasons, strict=True))


def take_posts(state: PartitionState) -> None:
    """Four of the drawn posts are there, of two communities; the record of one never comes."""
    for i in range(4):
        state.put_post(f"p{i}", i, 0.5, START_MS, PostSource(1 + i % 2, 7))


def _through_of(state: PartitionState, post_id: str) -> int:
    one = state.find(post_id)
    return -1 if one is None else one.through


def _through(record: Record) -> int:
    return decode_state(record.value or b"").through


class Partition:
    """The topics of one partition, and the owners that come and go."""

    def __init__(self, log: list[Event], random: Random) -> None:
        self.log, self.random = log, random
        self.counters: list[Record] = []
        self.committed = 0
        self.late: list[Record] = []  # of a paused owner, written after its successor's
        first = PartitionState(Environment(user_window=USER_WINDOW))
        take_posts(first)
        self.write([*first.changed.values()])

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

    def own(self, reasons: dict[int, Uncounted], *, to_end: bool) -> PartitionState:
        """Take the partition over, go on from the committed offset, crash somewhere."""
        state = PartitionState(Environment(user_window=USER_WINDOW))
        assert state.restore(self.compacted()) == 0
        state.restore_events(needed_before(self.log, self.committed, state))
        todo = [one for one in self.log if one[0].offset >= self.committed]
        while todo:
            size = self.random.randint(1, 12)
            batch, todo = todo[:size], todo[size:]
            through = {event.post_id: _through_of(state, event.post_id) for _, event in batch}
            for (record, event), reason in zip(batch, state.count(batch), strict=True):
                if record.offset > through[event.post_id]:
                    assert reason == reasons[record.offset]
                else:
                    assert reason
            states = list(state.changed.values())
            if not to_end and self.random.random() < 0.25:
                self._crash(states)
                return state
            self.write(states)
            state.pack()
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
    expected, reasons = undisturbed(log)
    partition = Partition(log, random)
    for _ in range(crashes):
        partition.own(reasons, to_end=False)
        if random.random() < 0.5:
            partition.let_late_ones_in()
    state = partition.own(reasons, to_end=True)
    partition.let_late_ones_in()
    # Bit for bit: JSON writes every float so that it reads back the same.
    assert encoded(state, log) == expected
    restored = PartitionState()
    restored.restore(partition.counters)
    assert encoded(restored, log) == expected


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), length=st.integers(0, 120), crashes=st.integers(0, 8))
def test_crashes_anywhere_change_no_count_and_no_decayed_sum(
    seed: int, length: int, crashes: int
) -> None:
    run(seed, length, crashes)


def test_a_date_after_the_records_own_is_clamped() -> None:
    state = PartitionState()
    state.count([(Record(4, START_MS, b"p"), Engagement("p", "u", "like", START_MS + 99))])
    one = state.changed["p"]
    assert max(one.counters.at_ms) == START_MS
    assert (one.through, one.at_ms, one.post_offset) == (4, START_MS, -1)


def stored(post_id: str, through: int, post_offset: int = 1) -> StoredRecord:
    value = encode_state(PostState(post_id, post_offset, 0.5, through, START_MS))
    return StoredRecord(key=post_id.encode(), value=value)


def through_of(state: PartitionState, post_id: str) -> int | None:
    one = state.find(post_id)
    return None if one is None else one.through


def test_of_two_records_of_a_post_the_one_that_counted_further_holds() -> None:
    state = PartitionState()
    deleted = StoredRecord(key=b"gone", value=None)
    records = [stored("p", 9), stored("p", 7), stored("q", 1), stored("q", 2)]
    records += [stored("gone", 11), stored("gone", 3), deleted]
    assert state.restore(records) == 0
    assert [through_of(state, post_id) for post_id in ("p", "q", "gone")] == [9, 2, None]
    assert (len(state), state.furthest) == (2, 11)
    edited = PartitionState()
    edited.restore([stored("p", 9, 5), stored("p", 9, 2)])
    one = edited.find("p")
    assert one is not None and one.post_offset == 5


def like(state: PartitionState, post_id: str, offset: int, at_ms: int = START_MS) -> None:
    event = Engagement(post_id, f"u{offset}", "like", at_ms)
    assert state.count([(Record(offset, at_ms, b""), event)]) == [""]


def test_of_posts_without_a_record_the_oldest_are_forgotten_beyond_the_bound() -> None:
    state = PartitionState(most_unknown=2)
    like(state, "known", 0)
    state.put_post("known", 5, 0.0, START_MS)
    for offset, post_id in enumerate(("a", "b", "a"), start=1):
        like(state, post_id, offset)
    assert state.pack() == []
    like(state, "c", 4)
    assert state.pack() == ["a"]
    state.put_post("b", 6, 0.0, START_MS)
    like(state, "d", 5)
    assert state.pack() == []
    assert [through_of(state, p) for p in ("known", "a", "b", "c", "d")] == [0, None, 2, 4, 5]


def test_the_bound_holds_over_a_restore() -> None:
    state = PartitionState(most_unknown=1)
    state.restore([stored("a", 1, -1), stored("b", 2, -1), stored("known", 3)])
    assert state.pack() == ["a"]
    assert len(state) == 2


def test_posts_that_nobody_touches_are_forgotten_some_rows_at_a_time() -> None:
    state = PartitionState()
    for i in range(100):
        like(state, f"p{i}", i, START_MS + i)
    state.pack()
    slices = 0
    next_row: int | None = 0
    while next_row is not None:
        before = len(state)
        next_row = state.expire(START_MS + 60, next_row, 30)
        slices += 1
        assert before - len(state) <= 30
    assert slices == 4
    assert len(state) == 40
    assert through_of(state, "p59") is None
    assert through_of(state, "p60") == 60


def test_an_event_costs_the_same_work_whatever_the_number_of_posts() -> None:
    state = PartitionState()

    def work() -> int:
        one = Record(9**9, START_MS, b""), Engagement("p7", "u", "like", START_MS)
        steps = bytecode_steps(lambda: (state.count([one]), state.pack()))
        state.restore([stored("p7", 1, 1)])
        return steps

    state.restore([stored(f"p{i}", 1) for i in range(50)])
    few = work()
    state.remove("p7")
    state.restore([stored(f"p{i}", 1) for i in range(20_000)])
    assert work() <= 1.2 * few


@pytest.mark.parametrize("posts", [20_000])
def test_a_post_takes_little_memory(posts: int) -> None:
    state = PartitionState()
    for i in range(posts):
        state.put_post(f"post-{i:015d}", i, 0.0, START_MS, PostSource(i % 50 + 1, 7))
        for offset, kind in enumerate(ENGAGEMENT_KINDS[:2]):
            event = Engagement(f"post-{i:015d}", "u", kind, START_MS)
            state.count([(Record(2 * i + offset, START_MS, b""), event)])
        if i % 100 == 0:
            state.pack()
    state.pack()
    packed = sum(map(sys.getsizeof, state._states._packed))
    # An impression, one of a regular, and a click; the keys of users apart.
    taken = (mapped_bytes(state._ids) + packed) / posts
    print(f"{taken:.0f} bytes a post")
    assert taken < 215


def edited(read_first: str, at_ms: int) -> PostState:
    """A post of ten impressions and four clicks, rewritten before one and four more."""
    state = PartitionState()
    state.put_post("p", 0, 0.0, START_MS, PostSource(0, 7, sketch=1))
    shown: EngagementKind = "impression"
    clicked: EngagementKind = "click"
    kinds = [*[shown] * 10, *[clicked] * 4]
    events: list[Event] = []
    for offset, kind in enumerate([*kinds, *kinds[-5:]]):
        time_ms = START_MS if offset < len(kinds) else at_ms + 1
        user = f"u{offset}"
        events.append((Record(offset, time_ms, b"p"), Engagement("p", user, kind, START_MS)))
    before, after = events[: len(kinds)], events[len(kinds) :]
    if read_first == "engagements":
        state.count(before)
    state.put_post("p", 1, 0.0, at_ms, PostSource(0, 7, sketch=-1))
    state.pack()
    if read_first == "the edit":
        state.count(before)
    stored_state = state.find("p")
    assert stored_state is not None
    assert stored_state.kept_counters.sums[:2] == [10 * KEPT_BY_EDIT, 4 * KEPT_BY_EDIT]
    restored = PartitionState()
    restored.restore([StoredRecord(key=b"p", value=encode_state(stored_state))])
    restored.count(after)
    found = restored.find("p")
    assert found is not None
    return found


def test_a_rewrite_keeps_a_quarter_of_what_came_before_it_in_whatever_order_they_are_read() -> None:
    first, second = (edited(one, START_MS + 5) for one in ("engagements", "the edit"))
    assert encode_state(first) == encode_state(second)
    assert first.counters.counts[:2] == [11, 8]
    assert first.counters.sums[:2] == [10 * KEPT_BY_EDIT + 1, 4 * KEPT_BY_EDIT + 4]
    assert (first.edits, first.edited_ms) == (0, 0)


def test_a_rewrite_keeps_all_complaints_and_a_correction_everything() -> None:
    state = PartitionState()
    state.put_post("p", 0, 0.0, START_MS, PostSource(0, 7, sketch=1))
    kinds: list[EngagementKind] = ["impression", "report", "click"]
    log = [
        (Record(i, START_MS, b"p"), Engagement("p", "u", kind, START_MS))
        for i, kind in enumerate(kinds)
    ]
    state.count(log)
    state.put_post("p", 1, 0.0, START_MS, PostSource(0, 7, sketch=3))
    one = state.changed["p"]
    assert one.edits == 0
    state.put_post("p", 2, 0.0, START_MS, PostSource(0, 7, sketch=-1))
    kept = one.kept_counters
    assert [kept.sums[KIND_INDEX[k]] for k in (*kinds, "stranger report")] == [
        KEPT_BY_EDIT,
        0.0,
        KEPT_BY_EDIT,
        1.0,
    ]
