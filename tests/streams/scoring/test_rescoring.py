"""After a release every earlier post is scored again once, and what others decided stays."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.records import record, record_batch
from feedmill.events.decode import decode_signal
from feedmill.events.post import Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.scoring import rescoring
from feedmill.streams.scoring.rescoring import BackwardReader, Rescoring, UnseenSignals
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import LatestEvent, Trial, WorkBatch

POSTS, SIGNALS = TopicPartition("posts", 0), TopicPartition("signals.spam", 0)
UNBOUNDED = 1_000_000


class Model:
    """One partition of posts and signals, and the model that judges them: first version "1"."""

    def __init__(self, rate: int = UNBOUNDED) -> None:
        self.topics: Topics = {POSTS: [], SIGNALS: []}
        self.writer = KeptWriter()
        self.version = "1"
        self.standing: dict[str, Signal] = {}
        self.poison: dict[int, str] = {}
        # What is tried before it is scored, where it is.
        self.trials: list[Trial] = []
        self.is_tried = False
        self.texts: dict[str, str] = {}
        context: Any = SimpleNamespace(
            connection=SimpleNamespace(environment=Environment(rescore_rate=rate)),
            partitions=1,
            poisoned={0: self.poison},
            worker=SimpleNamespace(try_posts=self.try_posts),
            clock=SimpleNamespace(now_ms=lambda: NOW_MS),
            metrics=Metrics("spam", "one").of_stage("spam"),
        )
        open_log = FakeLog(self.topics).open
        self.rescoring = Rescoring("spam", self.judge, context, open_log, lambda *_: ())
        self.rescoring.set_versions(self.version)

    def try_posts(self, source: TopicPartition, records: Sequence[Record]) -> Trial | None:
        assert source == POSTS
        assert records
        if self.is_tried:
            self.trials.append(Trial())
        return self.trials[-1] if self.is_tried else None

    def judge(
        self, records: Sequence[Record], posts: Sequence[Post], standing: Sequence[Signal | None]
    ) -> list[Signal]:
        self.texts.update({post.post_id: post.text for post in posts})
        self.standing.update(
            {post.post_id: one for post, one in zip(posts, standing, strict=True) if one}
        )
        return [
            Signal(post.post_id, at.offset, 0.5, "m", self.version, NOW_MS)
            for at, post in zip(records, posts, strict=True)
        ]

    def gain(self, note: str | None = None, start: int = 0) -> None:
        notes = {} if note is None else {POSTS: {"scored.spam": note}}
        self.rescoring.assigned(
            AssignmentChange(1, gained=(0,), starts={POSTS: start}, notes=notes)
        )

    def release(self, version: str) -> None:
        self.version = version
        self.rescoring.set_versions(version)

    def say(self, post_id: str, text: str | None = "text", reason: str | None = None) -> None:
        """Handle a record of `posts` as the step does."""
        offset = len(self.topics[POSTS])
        post = None if text is None else Post(post_id, "a", NOW_MS, text)
        one = record(post_id, post, offset=offset, timestamp=NOW_MS)
        self.topics[POSTS].append(one)
        work = decode_work([RecordBatch(POSTS, [one])], [], partitions=1, now_ms=NOW_MS)
        self.rescoring.note_written(work, self.writer)
        log = self.topics[SIGNALS]
        signal = Signal(post_id, offset, 0.1, "m", self.version, NOW_MS, reason=reason)
        log.append(record(post_id, signal if post else None, offset=len(log), timestamp=NOW_MS))

    def work(self, cycles: int = 200) -> None:
        for _ in range(cycles):
            self.rescoring.work(self.writer, 0.0)

    def written(self) -> list[Signal]:
        return [
            decode_signal("spam", SignalNames(), key, value)
            for _, key, value, _ in self.writer.added
            if value is not None
        ]

    @property
    def note(self) -> str | None:
        return self.writer.notes.get((POSTS, "scored.spam"))


def started(posts: int = 100) -> Model:
    made = Model()
    made.gain()
    for i in range(posts):
        made.say(f"p{i}")
    made.work()
    assert made.writer.added == []
    assert made.note == "1"
    return made


def test_every_post_is_scored_again_once_the_newest_first() -> None:
    made = started()
    made.release("2")
    added = []
    while made.note != "2":
        made.work(1)
        added.append(len(made.writer.added))
    # The note comes a cycle after the last signal.
    assert added[-1] == added[-2] == 100
    assert [one.post_id for one in made.written()] == [f"p{i}" for i in reversed(range(100))]
    assert {one.version for one in made.written()} == {"2"}
    handed = [one.signal for one in made.rescoring.written]
    assert handed == made.written()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("cycles", [1, 3, 5])
def test_after_a_rollback_within_a_pass_every_post_is_scored_by_the_version_of_before(
    cycles: int, *, restarts: bool
) -> None:
    made = started()
    made.release("2")
    made.say("new")
    # With the first signals, so that a kill loses both or neither.
    assert made.note == "-"
    made.work(cycles)
    assert len(made.written()) < 100
    made.writer.added.clear()
    if restarts:
        made.rescoring.assigned(AssignmentChange(2, lost=(0,)))
        made.gain(made.note, start=len(made.topics[POSTS]))
    made.release("1")
    made.work()
    assert {one.post_id for one in made.written()} == {"new", *(f"p{i}" for i in range(100))}
    assert {one.version for one in made.written()} == {"1"}
    assert made.note == "1"


def test_held_partitions_are_scored_again_when_they_are_let_go() -> None:
    made = started()
    made.rescoring.hold([0])
    made.rescoring.note_held(made.writer)
    assert made.note == "-"
    notes = len(made.writer.added_at_note)
    made.rescoring.note_held(made.writer)
    assert len(made.writer.added_at_note) == notes
    made.say("new")
    made.work()
    assert (made.writer.added, made.note) == ([], "-")
    made.rescoring.hold([])
    made.work()
    assert {one.post_id for one in made.written()} == {"new", *(f"p{i}" for i in range(100))}
    assert made.note == "1"


def test_a_hold_ends_the_pass_that_is_under_way() -> None:
    made = started()
    made.release("2")
    while not made.writer.added:
        made.work(1)
    before = len(made.written())
    assert 0 < before < 100
    made.rescoring.hold([0])
    made.work()
    assert len(made.written()) == before
    # Who takes it over holds it, too.
    made.rescoring.assigned(AssignmentChange(2, lost=(0,)))
    made.gain(made.note, start=len(made.topics[POSTS]))
    made.work()
    assert len(made.written()) == before
    made.writer.added.clear()
    made.rescoring.hold([])
    made.work()
    assert len(made.written()) == 100


def test_a_version_that_was_replaced_or_deleted_is_left_out() -> None:
    made = started(3)
    made.say("p0", "an edit")
    made.say("p1", None)
    made.release("2")
    made.work()
    assert [(one.post_id, one.post_offset) for one in made.written()] == [("p0", 3), ("p2", 2)]


@pytest.mark.parametrize("cycles", range(1, 8))
def test_a_post_that_is_judged_meanwhile_keeps_its_newer_signal(cycles: int) -> None:
    made = started()
    made.release("2")
    made.work(cycles)
    before = {one.post_id for one in made.written()}
    made.say("p50", "an edit")
    made.say("p60", None)
    made.work()
    again = {one.post_id for one in made.written()}
    assert {"p50", "p60"} & again == {"p50", "p60"} & before
    assert again | {"p50", "p60"} == {f"p{i}" for i in range(100)}


def test_signals_that_something_else_decided_are_handed_to_the_judge() -> None:
    made = started(3)
    made.say("copy", reason="copy of 9 posts")
    made.say("was", reason="copy of 9 posts")
    made.say("was", "an edit")
    made.release("2")
    made.work()
    assert {name: one.reason for name, one in made.standing.items()} == {"copy": "copy of 9 posts"}


def test_signals_of_partitions_that_are_not_behind_are_not_waited_for() -> None:
    made = started(3)
    elsewhere = LatestEvent(1, record("x", None, offset=9), Post("x", "a", NOW_MS, "text"), 0)
    made.rescoring.note_written(WorkBatch(NOW_MS, latest=[elsewhere]), made.writer)
    made.release("2")
    made.work()
    assert (len(made.written()), made.note) == (3, "2")


def test_another_release_or_other_rules_begin_anew() -> None:
    made = started()
    made.release("2")
    made.work(5)
    made.release("3")
    made.writer.added.clear()
    made.work(5)
    made.rescoring.set_versions("3", "17")
    made.writer.added.clear()
    made.work()
    assert made.writer.notes[POSTS, "spam.rules"] == "17"
    assert len(made.written()) == 100
    assert {one.version for one in made.written()} == {"3"}
    assert made.note == "3"


@pytest.mark.parametrize(("note", "count"), [("2", 0), ("1", 100), (None, 0)])
def test_who_takes_over_goes_by_the_note(note: str | None, count: int) -> None:
    before = started()
    made = Model()
    made.topics.update(before.topics)
    made.release("2")
    made.gain(note, start=100)
    made.work()
    assert len(made.written()) == count
    assert made.note == (None if note == "2" else "2")


def test_posts_of_a_partition_that_was_lost_are_left_to_others() -> None:
    made = started()
    made.release("2")
    made.work(5)
    made.rescoring.assigned(AssignmentChange(2, lost=(0,)))
    made.writer.added.clear()
    made.work()
    assert made.written() == []
    assert made.rescoring.written == []


def test_no_more_are_scored_than_the_rate_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    clock = SimpleNamespace(monotonic=lambda: now_s, perf_counter=time.perf_counter)
    monkeypatch.setattr(rescoring, "time", clock)
    made = Model(rate=20)
    made.gain()
    for i in range(100):
        made.say(f"p{i}")
    made.release("2")
    counts = []
    for _ in range(4):
        made.work()
        counts.append(len(made.written()))
        now_s += 0.2
    assert counts == [0, 4, 8, 12]
    # What is allowed is saved up for a quarter of a second.
    now_s += 60
    made.work()
    assert len(made.written()) == 12 + 5


def test_a_rate_of_nothing_leaves_earlier_posts_alone() -> None:
    made = Model(rate=0)
    made.gain(None, start=1)
    made.say("p0")
    made.release("2")
    made.work()
    assert made.written() == []
    assert made.note is None


def test_nothing_is_scored_before_its_trial_is_over_and_poison_comes_without_its_text() -> None:
    made = started(40)
    made.is_tried = True
    made.release("2")
    made.work()
    assert len(made.trials) == 1
    assert made.written() == []
    assert made.rescoring.is_under_way
    made.poison[39] = "judged by no model"
    while made.rescoring.is_under_way:
        for trial in made.trials:
            trial.is_over = True
        made.work(1)
    assert len(made.trials) == 2
    assert {one.post_id for one in made.written()} == {f"p{i}" for i in range(40)}
    assert {name for name, text in made.texts.items() if not text} == {"p39"}


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
