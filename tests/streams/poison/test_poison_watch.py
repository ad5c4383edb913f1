"""What a worker does after an unclean end: it tries, waits, skips, and in time forgets."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.records import StoredRecord
from builders.waiting import until
from feedmill.filters.hide_rate_guard import WINDOW_RECORDS
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.poison import poison_watch
from feedmill.streams.poison.judging_process import CannotTryError, Ended, JudgingTask
from feedmill.streams.poison.poison_watch import (
    MOST_POSTS,
    NOTE,
    TOPIC,
    PoisonLog,
    PoisonWatch,
    UncleanEnds,
    read_ranges,
    suspects,
)
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.step import ModelStep, Step, WorkBatch, Writer

P0, P1 = TopicPartition("posts", 0), TopicPartition("posts", 1)


class Child:
    """Ended by the offsets in `poison`; waits until `may_answer`."""

    def __init__(self) -> None:
        self.poison: set[int] = set()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.judged: list[int] = []
        self.can_try = True

    def judge(self, records: Sequence[Record], *, singly: bool) -> Ended | None:
        self.may_answer.wait(30)
        if not self.can_try:
            raise CannotTryError("no")
        self.judged += [one.offset for one in records]
        places = [i for i, one in enumerate(records) if one.offset in self.poison]
        return Ended(places[0] if singly else 0, "it takes too long") if places else None

    def close(self) -> None:
        self.may_answer.set()


class Writing(KeptWriter):
    """Has committed what it was given of an assignment, at once."""

    committed_epoch = 1


class Watched:
    """A worker's watch over two partitions of ten posts each, of which three are not committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, models: Sequence[str] = ("spam",)) -> None:
        self.child, self.writer, self.metrics = Child(), Writing(), Metrics("worker", "one")
        self.posts: Topics = {at: [StoredRecord(i) for i in range(10)] for at in (P0, P1)}
        self.known: list[StoredRecord] = []
        monkeypatch.setattr(poison_watch, "JudgingChild", lambda task: self.take_task(task()))
        known = FakeLog({TopicPartition(TOPIC, 0): self.known})
        monkeypatch.setattr(
            poison_watch,
            "LogConsumer",
            lambda _, name, **__: known if name == TOPIC else FakeLog(self.posts),
        )
        connection: Any = _Connection()
        in_use = [(name, "a" * 64) for name in models]
        self.watch = PoisonWatch(
            connection, self.metrics, LogClock(), lambda: in_use, cast(Any, self.writer)
        )
        self.may_try = self.has_caught_up = True

    def take_task(self, task: JudgingTask) -> Child:
        self.task = task
        return self.child

    def gain(self, notes: Mapping[int, str], epoch: int = 1, **more: Any) -> None:
        at = dict.fromkeys((P0, P1), 7), dict.fromkeys((P0, P1), 10)
        change = AssignmentChange(
            epoch, tuple(notes), starts=at[0], ends=at[1],
            notes={TopicPartition("posts", p): {NOTE: note} for p, note in notes.items()}, **more,
        )  # fmt: skip
        self.noted = self.watch.assigned(change).notes

    def follow(self) -> None:
        self.watch.follow(lambda: self.may_try, lambda: self.has_caught_up)

    def allowed(self) -> set[int]:
        self.follow()
        return {p for p in (0, 1) if self.watch.allows(p)}

    def wait_allowed(self) -> None:
        until(lambda: self.allowed() == {0, 1}, every=0.001)

    def letters(self) -> list[tuple[int, str]]:
        """Partition and topic of what was written."""
        letters = [(one.source.partition, "dead-letters") for one, _ in self.writer.rejected]
        return [*((owner.partition, topic) for topic, _, _, owner in self.writer.added), *letters]


class _Connection:
    class environment:  # noqa: N801 - stands in for an attribute
        models = None


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched(monkeypatch)
    yield made
    made.watch.close()


class Judging(ModelStep):
    name = "spam"

    def swap(self, model: Any) -> None:
        pass

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        pass


class Ranking(Step):
    def apply(self, work: WorkBatch, writer: Writer) -> None:
        pass


STEPS = (Judging(), Ranking())


def test_after_a_clean_end_nothing_is_tried(watched: Watched) -> None:
    assert watched.watch.allowed(STEPS) == [STEPS[1]], "before it is known what is poison"
    watched.wait_allowed()
    watched.gain({0: "", 1: ""})
    assert watched.allowed() == {0, 1}
    assert watched.watch.allowed(STEPS) == STEPS
    assert watched.child.judged == []
    assert watched.watch.ready_reason() == ""
    assert watched.watch.try_posts(P0, [StoredRecord(3)]) is None


def test_after_an_unclean_end_what_was_not_committed_waits_for_its_trial(watched: Watched) -> None:
    watched.child.may_answer.clear()
    watched.child.poison = {8}
    watched.gain({0: "0 open", 1: ""})
    for _ in range(5):
        assert watched.allowed() == {1}
    assert watched.watch.allowed(STEPS) == STEPS
    assert watched.watch.ready_reason().startswith("a worker ended uncleanly: trying 3 posts")
    watched.child.may_answer.set()
    watched.wait_allowed()
    assert set(watched.child.judged) == {7, 8, 9}
    assert watched.watch.log.by_partition.get(0, {}) == {8: "judged by no model: it takes too long"}
    assert watched.letters() == [(0, "poison"), (0, "dead-letters")]
    assert "feedmill_poison_total" in watched.metrics.text()
    assert watched.task.models == (("spam", "a" * 64),)


def test_after_two_what_is_judged_again_is_tried_too_before_it_is(watched: Watched) -> None:
    watched.wait_allowed()
    watched.child.may_answer.clear()
    watched.gain({0: "1 open", 1: "0 open"})
    watched.follow()
    assert watched.watch.allowed(STEPS) == [STEPS[1]]
    watched.child.may_answer.set()
    watched.wait_allowed()
    assert watched.watch.allowed(STEPS) == STEPS
    assert sorted(watched.child.judged) == [*range(7), *(at for at in (7, 8, 9) for _ in "01")]


def test_nothing_is_judged_before_an_end_would_be_seen(watched: Watched) -> None:
    watched.wait_allowed()
    watched.gain({0: "", 1: ""}, epoch=2)
    assert watched.noted == {P0: {NOTE: "0 open"}, P1: {NOTE: "0 open"}}
    assert watched.allowed() == set()
    assert watched.watch.allowed(STEPS) == [STEPS[1]]
    watched.writer.committed_epoch = 2
    assert watched.allowed() == {0, 1}
    assert watched.watch.allowed(STEPS) == STEPS


def test_what_is_known_is_not_tried_again(watched: Watched) -> None:
    value = json.dumps({"stages": ["spam"], "reason": "known"}).encode()
    watched.known.append(StoredRecord(0, 0, b"spam/posts/0/8", value))
    watched.wait_allowed()
    watched.gain({0: "0 open", 1: ""})
    watched.wait_allowed()
    assert watched.child.judged == [7, 9]
    assert watched.letters() == []


def test_it_is_not_begun_before_it_is_known_by_which_models(watched: Watched) -> None:
    watched.wait_allowed()
    watched.may_try = False
    watched.gain({0: "0 open", 1: ""})
    for _ in range(5):
        assert watched.allowed() == {1}
    assert watched.child.judged == []
    watched.may_try = True
    watched.wait_allowed()


def test_what_another_worker_has_by_then_is_left_to_it(watched: Watched) -> None:
    watched.wait_allowed()
    watched.child.may_answer.clear()
    watched.child.poison = {8}
    watched.gain({0: "0 open", 1: "0 open"})
    watched.follow()
    watched.watch.assigned(AssignmentChange(1, lost=(0,), kept=(1,), notes={P1: {NOTE: "1"}}))
    watched.child.may_answer.set()
    until(lambda: watched.allowed() == {0, 1}, every=0.001)
    assert dict(watched.watch.log.by_partition.get(0, {})) == {}
    assert set(watched.watch.log.by_partition.get(1, {})) == {8}
    assert watched.letters() == [(1, "poison"), (1, "dead-letters")]


def test_posts_that_cannot_be_tried_pass(watched: Watched) -> None:
    watched.wait_allowed()
    watched.child.can_try = False
    watched.gain({0: "0 open", 1: ""})
    watched.wait_allowed()
    assert watched.letters() == []


def test_posts_that_are_scored_again_are_tried_until_all_is_calm(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.wait_allowed()
    watched.child.poison = {2}
    watched.gain({0: "0 open", 1: ""})
    watched.wait_allowed()
    trial = watched.watch.try_posts(P0, [StoredRecord(2), StoredRecord(1)])
    assert trial is not None
    until(lambda: watched.allowed() and trial.is_over, every=0.001)
    assert set(watched.watch.log.by_partition.get(0, {})) == {2}
    assert watched.letters() == [(0, "poison"), (0, "dead-letters")]

    watched.follow()
    assert watched.watch.ends.any(), "it has not gone on for long enough"
    monkeypatch.setattr(watched.watch, "_calm_at", 0.0)
    watched.has_caught_up = False
    watched.follow()
    assert watched.watch.ends.any(), "there are posts to score again"
    watched.has_caught_up = True
    watched.follow()
    assert not watched.watch.ends.any()
    assert watched.writer.notes[P0, NOTE] == "0 open"
    assert watched.watch.try_posts(P0, [StoredRecord(2)]) is None


def test_thirty_kills_in_a_row_make_no_poison(watched: Watched) -> None:
    watched.wait_allowed()
    for kill in range(30):
        watched.gain({0: f"{kill} open", 1: f"{kill} open"}, lost=(0, 1))
        watched.wait_allowed()
    assert watched.letters() == []
    assert len(watched.child.judged) == 30 * 20 - 14


def test_a_worker_that_judges_nothing_tries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, models=())
    watched.wait_allowed()
    watched.gain({0: "5 open", 1: "5 open"})
    assert watched.allowed() == {0, 1}
    assert watched.child.judged == []
    watched.watch.close()


# --- what the topic says -----------------------------------------------------------------------


def entry(offset: int, key: str, *stages: str) -> StoredRecord:
    value = json.dumps({"stages": stages, "reason": f"ends {key}", "at_ms": 5}).encode()
    return StoredRecord(offset, 0, key.encode(), value if stages else None)


def opened(monkeypatch: pytest.MonkeyPatch, *records: StoredRecord) -> tuple[PoisonLog, FakeLog]:
    log, connection = FakeLog({TopicPartition(TOPIC, 0): [*records]}), cast(Any, None)
    monkeypatch.setattr(poison_watch, "LogConsumer", lambda *_, **__: log)
    made = PoisonLog(connection, ("spam", "nsfw"))
    made.follow()
    made.follow()
    return made, log


def test_a_worker_obeys_what_is_said_of_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    made, log = opened(
        monkeypatch,
        entry(0, "spam/posts/1/7", "spam"),
        entry(1, "quality/posts/1/8", "quality"),
        entry(2, "spam+quality/posts/2/9", "spam", "quality"),
        # What cannot be read is passed over.
        StoredRecord(3, 0, None, b"{}"),
        StoredRecord(3, 0, b"spam/posts/x/7", b"{}"),
        StoredRecord(3, 0, b"spam/posts/1/9", b"\xff{"),
        entry(3, "spam/posts/3/1", "spam"),
        entry(4, "spam/posts/3/1"),
    )
    assert made.is_restored
    assert made.by_partition[1] == {7: "ends spam/posts/1/7"}
    assert made.by_partition[2] == {9: "ends spam+quality/posts/2/9"}
    assert not made.by_partition.get(0) and not made.by_partition[3]
    log.topics[TopicPartition(TOPIC, 0)].append(entry(5, "nsfw/posts/1/70", "nsfw"))
    made._read_at = 0.0
    made.follow()
    assert set(made.by_partition[1]) == {7, 70}


def test_what_is_found_counts_at_once_and_is_written_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, _ = opened(monkeypatch)
    writer = KeptWriter()
    made.add(2, StoredRecord(41), "it takes too long", 7, writer)
    assert made.by_partition[2] == {41: "it takes too long"}
    ((topic, key, value, owner),) = writer.added
    assert (topic, key, owner) == (TOPIC, b"spam+nsfw/posts/2/41", TopicPartition("posts", 2))
    assert json.loads(value or b"") == {
        "stages": ["spam", "nsfw"], "reason": "it takes too long", "at_ms": 7,
    }  # fmt: skip


POSTS, OTHER = TopicPartition("posts", 0), TopicPartition("posts", 1)


class Kafka:
    """One partition, its note, and the workers that own it one after another."""

    def __init__(self) -> None:
        self.note = ""

    def worker(self) -> tuple[UncleanEnds, KeptWriter]:
        """A worker that owns the partition and has committed."""
        ends, writer = UncleanEnds(), KeptWriter()
        notes = {POSTS: {NOTE: self.note}} if self.note else {}
        self.note = ends.assigned(AssignmentChange(1, gained=(0,), notes=notes)).notes[POSTS][NOTE]
        return ends, writer

    def take_back(self, ends: UncleanEnds) -> None:
        self.note = ends.given_back()[POSTS][NOTE]


def test_an_end_without_giving_back_is_counted_and_one_with_it_is_not() -> None:
    kafka = Kafka()
    assert [kafka.worker()[0].before(0) for _ in range(2)] == [0, 1]
    ends, writer = kafka.worker()
    assert (ends.before(0), ends.any()) == (2, True)
    # Whoever fails gives nothing back, and whoever does has not found the cause: the count stays.
    ends.is_failed = True
    assert ends.given_back() == {}
    ends.is_failed = False
    kafka.take_back(ends)
    ends, writer = kafka.worker()
    assert ends.before(0) == 2
    # What went on for a while is forgotten, and the next end is the first.
    ends.forget(writer)
    assert not ends.any()
    kafka.note = writer.notes[POSTS, NOTE]
    ends, writer = kafka.worker()
    assert ends.before(0) == 1
    ends.forget(writer)
    kafka.take_back(ends)
    assert kafka.note == ""
    assert kafka.worker()[0].before(0) == 0


def test_a_partition_that_stays_keeps_its_count_and_one_that_goes_is_forgotten() -> None:
    ends = UncleanEnds()
    notes = {POSTS: {NOTE: "1 open", "other": "stays"}, OTHER: {NOTE: "nonsense"}}
    change = ends.assigned(AssignmentChange(1, gained=(0, 1), notes=notes))
    assert change.notes == {POSTS: {NOTE: "2 open", "other": "stays"}, OTHER: {NOTE: "0 open"}}
    assert (ends.before(0), ends.before(1)) == (2, 0)
    assert ends.given_back() == {POSTS: {NOTE: "2"}, OTHER: {NOTE: ""}}
    # The note of before is that of the commit that gave it back.
    change = AssignmentChange(2, kept=(0,), lost=(1,), notes={POSTS: {NOTE: "2"}})
    assert ends.assigned(change).notes == {POSTS: {NOTE: "2 open"}}
    assert (0 in ends, 1 in ends) == (True, False)
    # Another one had it in between, and ended.
    ends.assigned(AssignmentChange(3, gained=(0,), lost=(0,), notes={POSTS: {NOTE: "3 open"}}))
    assert ends.before(0) == 4


@pytest.mark.parametrize(
    ("note", "start", "end", "expected"),
    [
        ("", 100, 200, None),
        ("2", 100, 100, range(100)),
        ("0 open", 100, 200, range(100, 200)),
        ("0 open", 100, 100, None),
        ("0 open", 100, 1_000_000, range(100, 100 + MOST_POSTS)),
        ("1 open", 100, 200, range(200)),
        ("1 open", 9_000, 9_001, range(9_000 - WINDOW_RECORDS, 9_001)),
    ],
)
def test_what_is_tried_follows_from_the_ends_before(
    note: str, start: int, end: int, expected: range | None
) -> None:
    ends, notes = UncleanEnds(), {POSTS: {NOTE: note}}
    change = AssignmentChange(1, (0,), starts={POSTS: start}, ends={POSTS: end}, notes=notes)
    ends.assigned(change)
    assert suspects(change, ends) == ({} if expected is None else {POSTS: expected})


def read(log: FakeLog, ranges: Mapping[TopicPartition, range]) -> list[tuple[int, int]]:
    batches = read_ranges(log.open("posts"), ranges, threading.Event())
    return [(batch.source.partition, one.offset) for batch in batches for one in batch.records]


def test_the_records_of_all_ranges_are_read_and_no_others() -> None:
    some, others = [[StoredRecord(i) for i in at] for at in (range(0, 2_000, 3), range(700, 900))]
    log = FakeLog({POSTS: some, OTHER: others})
    found = read(log, {POSTS: range(300, 1_801), OTHER: range(100, 705)})
    assert [at for p, at in found if p == 0] == [*range(300, 1_801, 3)]
    assert [at for p, at in found if p == 1] == [*range(700, 705)]


def test_what_stands_behind_an_open_transaction_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(poison_watch, "_SILENT_S", 0.05)
    log = FakeLog({POSTS: [StoredRecord(i) for i in range(10)]}, held={POSTS: 6})
    assert read(log, {POSTS: range(4, 10)}) == [(0, 4), (0, 5)]
