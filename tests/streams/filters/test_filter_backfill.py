"""Changed rules reach every earlier post once, whatever is in flight, and the note says so."""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.lists import post_list
from builders.records import record
from feedmill.events.decode import decode_signal
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import RULE_MODEL, RuleVerdict, Signal, SignalNames
from feedmill.filters.filter_rules import FilterRules
from feedmill.filters.lists import ListKind, ListSet, PostList
from feedmill.streams.filters.filter_backfill import NEVER, FilterBackfill
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.worker.decoding import decode_work

NOW_MS = 1_700_000_000_000
RULES = b'{"value": {"r": {"verdict": "hide", "phrases": ["new"]}}}'
POSTS, SIGNALS = TopicPartition("posts", 0), TopicPartition("signals.spam", 0)


class Filter:
    """One partition, its rules and backfill; `say` writes a post and its signal."""

    def __init__(self) -> None:
        self.topics: Topics = {POSTS: [], SIGNALS: []}
        self.log = FakeLog(self.topics)
        self.writer = KeptWriter()
        self.rules = FilterRules("spam")
        self.settings = Settings()
        self.rules_at = self.lists_at = NEVER
        self.poison: dict[int, str] = {}
        context: Any = SimpleNamespace(
            partitions=1,
            clock=SimpleNamespace(now_ms=lambda: NOW_MS),
            poisoned=lambda _: self.poison,
        )
        self.backfill = FilterBackfill(
            "spam",
            SignalNames(),
            self.rules,
            lambda hit: RuleVerdict(hit.rule, 1.0),
            context,
            self.log.open,
        )

    def change_rules(self, value: bytes | None, offset: int) -> None:
        self.settings = self.settings.fold(b"rules/spam", value, offset)
        self.rules.follow(self.settings)
        self.rules_at = self.settings.change_offsets["rules/spam"]
        self.backfill.follow(self.rules_at, self.lists_at)

    def release_lists(self, lists: Sequence[PostList], offset: int) -> None:
        self.rules.follow_lists(ListSet(lists))
        self.lists_at = offset
        self.backfill.follow(self.rules_at, offset)

    def gain(self, note: str | None = None, start: int = 0) -> None:
        notes = {} if note is None else {0: {"spam.rules": note}}
        self.backfill.assigned(AssignmentChange(1, gained=(0,), starts={POSTS: start}, notes=notes))

    def say(self, post_id: str, text: str | None, *, is_committed: bool = True) -> None:
        """Handle a record of `posts` as the step does, without rules."""
        offset = len(self.topics[POSTS])
        post = None if text is None else Post(post_id, "a", NOW_MS, text)
        one = record(post_id, post, offset=offset, timestamp=NOW_MS)
        self.topics[POSTS].append(one)
        work = decode_work([RecordBatch(POSTS, [one])], [], partitions=1, epoch=1, now_ms=NOW_MS)
        self.backfill.note_written(work)
        if is_committed:
            self.commit(post_id, None if text is None else offset)

    def commit(self, post_id: str, offset: int | None) -> None:
        signal = None if offset is None else Signal(post_id, offset, 0.1, "m", "1", NOW_MS)
        log = self.topics[SIGNALS]
        log.append(record(post_id, signal, offset=len(log), timestamp=NOW_MS))

    def work(self, cycles: int = 60) -> None:
        """Cycles of one slice each."""
        for _ in range(cycles):
            self.backfill.work(self.writer, 0.0)

    def written(self) -> list[Signal]:
        return [
            decode_signal("spam", SignalNames(), key, value)
            for _, key, value, _ in self.writer.added
            if value is not None
        ]

    def replay(self) -> None:
        """What was written is committed."""
        log = self.topics[SIGNALS]
        for signal in self.written():
            log.append(record(signal.post_id, signal, offset=len(log), timestamp=NOW_MS))


def ids(signals: Iterable[Signal]) -> set[str]:
    return {one.post_id for one in signals}


def started() -> Filter:
    made = Filter()
    made.gain()
    for i in range(250):
        made.say(f"p{i}", "a new thing" if i % 50 == 0 else "an old thing")
    made.work()
    assert made.writer.notes == {(0, "spam.rules"): "-1"}
    return made


def test_a_phrase_does_not_reach_posts_that_no_model_may_judge() -> None:
    made = started()
    made.poison[100] = "judged by no model"
    made.change_rules(RULES, 7)
    made.work()
    assert ids(made.written()) == {f"p{i}" for i in range(0, 250, 50)} - {"p100"}


def test_new_rules_reach_earlier_posts_and_removed_ones_leave_them() -> None:
    made = started()
    made.change_rules(RULES, 7)
    made.work()
    assert ids(made.written()) == {f"p{i}" for i in range(0, 250, 50)}
    assert all(one.model == RULE_MODEL and one.revision == 8 for one in made.written())
    assert made.writer.notes == {(0, "spam.rules"): "7"}
    made.replay()
    made.writer.added.clear()
    made.change_rules(None, 9)
    made.work()
    assert ids(made.written()) == {f"p{i}" for i in range(0, 250, 50)}
    assert all((one.model, one.value, one.revision) == ("m", 0.1, 10) for one in made.written())
    assert made.writer.notes == {(0, "spam.rules"): "9"}


def test_the_note_comes_a_cycle_after_the_last_signal() -> None:
    made = started()
    made.change_rules(RULES, 7)
    cycles, added = 0, [0]
    while made.writer.notes[0, "spam.rules"] != "7":
        made.work(1)
        added.append(len(made.writer.added))
        cycles += 1
        assert cycles < 100
    assert added[-1] == added[-2] == 5


def test_other_steps_get_what_was_rewritten() -> None:
    made = started()
    made.change_rules(RULES, 7)
    made.work()
    handed = {one.post_id: one.signal for one in made.backfill.written}
    assert handed == {one.post_id: one for one in made.written()}


def test_a_signal_that_is_not_committed_yet_is_waited_for() -> None:
    made = started()
    made.say("late", "the new thing", is_committed=False)
    made.change_rules(RULES, 7)
    made.work()
    assert made.writer.notes == {(0, "spam.rules"): "-1"}
    made.commit("late", 250)
    made.work()
    assert "late" in ids(made.written())
    assert made.writer.notes == {(0, "spam.rules"): "7"}


def test_a_deletion_that_is_not_committed_yet_stays_a_deletion() -> None:
    made = started()
    made.say("p50", None, is_committed=False)
    made.change_rules(RULES, 7)
    made.work()
    made.commit("p50", None)
    made.work()
    assert ids(made.written()) == {"p0", "p100", "p150", "p200"}


def test_what_the_loop_scores_meanwhile_is_left_out() -> None:
    made = started()
    made.change_rules(RULES, 7)
    made.work(1)
    made.say("p100", "another new thing", is_committed=False)
    made.say("p150", None, is_committed=False)
    made.work()
    assert ids(made.written()) == {"p0", "p50", "p200"}


def test_rules_that_change_again_begin_anew() -> None:
    made = started()
    made.change_rules(RULES, 7)
    made.work(1)
    made.change_rules(RULES.replace(b"hide", b"allow").replace(b"new", b"old"), 8)
    made.work()
    last = {one.post_id: one for one in made.written()}
    assert ids(one for one in last.values() if one.model == RULE_MODEL) >= {
        f"p{i}" for i in range(250) if i % 50
    }
    assert made.writer.notes == {(0, "spam.rules"): "8"}


def test_whoever_takes_a_partition_over_goes_on_by_its_note() -> None:
    made = started()
    made.change_rules(RULES, 7)
    made.backfill.assigned(AssignmentChange(2, lost=(0,)))
    made.work()
    assert not made.written()
    made.gain(note="-1", start=250)
    made.work()
    assert len(made.written()) == 5
    known = len(made.writer.added)
    made.gain(note="7", start=250)
    made.log.reads.clear()
    made.work()
    assert len(made.writer.added) == known
    assert not made.log.reads


@pytest.mark.parametrize(("kind", "entry"), [("domains", "evil.example"), ("phrases", "See EVIL")])
def test_a_list_reaches_earlier_posts_and_one_that_is_withdrawn_leaves_them(
    kind: ListKind, entry: str
) -> None:
    made = started()
    bad = post_list(kind, [entry])
    made.say("link", "see evil.example")
    made.release_lists([bad], 3)
    made.work()
    (signal,) = made.written()
    assert (signal.post_id, signal.model, signal.version) == ("link", RULE_MODEL, bad.label)
    assert signal.overruled is not None
    assert (signal.overruled.model, signal.revision) == ("m", 0)
    assert made.writer.notes == {(0, "spam.rules"): "-1 3"}
    made.replay()
    made.writer.added.clear()
    # A change of rules leaves what the list decides.
    made.change_rules(RULES, 7)
    made.work()
    assert ids(made.written()) == {f"p{i}" for i in range(0, 250, 50)}
    assert made.writer.notes == {(0, "spam.rules"): "7 3"}
    made.replay()
    made.writer.added.clear()
    made.release_lists([], 4)
    made.work()
    assert [(one.post_id, one.model, one.value) for one in made.written()] == [("link", "m", 0.1)]
    assert made.writer.notes == {(0, "spam.rules"): "7 4"}


def test_a_list_that_is_released_again_in_the_middle_of_a_pass_begins_anew() -> None:
    made = started()
    bad = post_list("authors", ["a"])
    made.release_lists([bad], 3)
    while not made.written():
        made.work(1)
    assert len(made.written()) < 250
    made.replay()
    made.writer.added.clear()
    made.release_lists([], 4)
    made.work()
    made.replay()
    last = {one.key: one for one in made.topics[SIGNALS]}
    values = [
        decode_signal("spam", SignalNames(), one.key, one.value or b"") for one in last.values()
    ]
    assert {one.model for one in values} == {"m"}
    assert made.writer.notes == {(0, "spam.rules"): "-1 4"}


def test_a_partition_that_is_taken_over_is_under_the_lists_of_its_note() -> None:
    made = started()
    made.release_lists([post_list("authors", ["a"])], 3)
    for note, is_known in (("-1 3", True), ("-1", False), ("-1 2", False), ("-1 9", False)):
        made.gain(note=note, start=250)
        made.log.reads.clear()
        made.work()
        assert bool(made.log.reads) is not is_known, note
        assert made.writer.notes[0, "spam.rules"] == ("-1" if is_known else "-1 3")
