"""Changed rules and lists reach every earlier post once, whatever is in flight."""

from collections.abc import Sequence

import pytest

from builders.fake_log import KeptWriter
from builders.filter_step import NOW_MS, POSTS, SIGNALS, model
from builders.filter_step import Filter as Judging
from builders.lists import post_list
from builders.records import StoredRecord, record
from feedmill.events.decode import decode_signal
from feedmill.events.post import Post
from feedmill.events.release import Candidate
from feedmill.events.signal import RULE_MODEL, ModelVerdict, Signal, SignalNames
from feedmill.filters.lists import ListKind, ListSet, PostList
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.scoring import rescoring
from feedmill.streams.scoring.candidate_scoring import CandidateScoring

NEW = {"r": {"verdict": "hide", "phrases": ["new"]}}
HITS = {f"p{i}" for i in range(0, 250, 50)}


class Filter(Judging):
    """A filter whose posts and signals are on their topics; `write` adds a post to them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__(patch, remembers=False, environment=Environment(rescore_rate=0))
        self.step.settings_changed(self.settings)
        self.gain()

    def release_lists(self, lists: Sequence[PostList], offset: int) -> None:
        self.step.swap_lists(ListSet(lists), offset)

    def write(self, post_id: str, text: str | None, *, is_committed: bool = True) -> StoredRecord:
        """Judge a record of `posts`; return that of its signal."""
        post = None if text is None else Post(post_id, "a", NOW_MS, text)
        one = record(post_id, post, offset=len(self.topics[POSTS]), timestamp=NOW_MS)
        self.topics[POSTS].append(one)
        self.judge_records([one])
        _, key, value, _ = self.writer.added.pop()
        signal = StoredRecord(0, NOW_MS, key, value)
        if is_committed:
            self.commit(signal)
        return signal

    def commit(self, *signals: StoredRecord) -> None:
        for one in signals:
            self.topics[SIGNALS].append(
                StoredRecord(len(self.topics[SIGNALS]), NOW_MS, one.key, one.value)
            )

    def work(self, cycles: int = 300) -> list[Signal]:
        """Go round, a slice each time; commit and return what was written."""
        for _ in range(cycles):
            self.step.background(self.writer, 0.0)
        added = [StoredRecord(0, 0, key, value) for _, key, value, _ in self.writer.added]
        self.writer.added.clear()
        self.commit(*added)
        return [decode_signal("spam", SignalNames(), one.key, one.value or b"") for one in added]

    def last_signals(self) -> dict[str, Signal]:
        """By post the last signal that is committed."""
        last = {one.key: one.value for one in self.topics[SIGNALS]}
        found = [decode_signal("spam", SignalNames(), key, value) for key, value in last.items()
                 if value]  # fmt: skip
        return {one.post_id: one for one in found}

    def ruled(self) -> set[str]:
        return {key for key, one in self.last_signals().items() if one.model == RULE_MODEL}

    @property
    def note(self) -> str | None:
        return self.writer.notes.get((POSTS, "spam.rules"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Filter:
    """One that has judged 250 posts, of which every fiftieth is about something new."""
    made = Filter(monkeypatch)
    for i in range(250):
        made.write(f"p{i}", "a new thing" if i % 50 == 0 else "an old thing")
    assert made.work() == []
    assert made.note == "-1"
    return made


def test_new_rules_reach_earlier_posts_and_removed_ones_leave_them(made: Filter) -> None:
    before = made.last_signals()
    made.change_rules(NEW, 7)
    assert made.step.scores_again
    written = made.work()
    assert not made.step.scores_again
    assert {one.post_id for one in written} == HITS
    assert all((one.model, one.value, one.revision) == (RULE_MODEL, 1.0, 8) for one in written)
    assert made.note == "7"
    # Other steps get them before the next posts.
    assert made.step.poll(KeptWriter())
    assert [*made.judge().values()] == written
    made.change_rules(None, 9)
    again = made.work()
    assert {one.post_id for one in again} == HITS
    for one in again:
        was = before[one.post_id]
        assert (one.model, one.value, one.revision) == (was.model, was.value, 10)
    assert made.note == "9"


def test_what_stands_is_kept_beneath_a_rule_and_comes_back(made: Filter) -> None:
    """A campaign's value, which nobody could compute again."""
    copy = Signal(
        "copy", len(made.topics[POSTS]), 0.99, "fixed", "0", NOW_MS, reason="copy of 9 posts"
    )
    made.write("copy", "a new copy", is_committed=False)
    made.commit(record("copy", copy))
    made.change_rules(NEW, 7)
    (ruled,) = [one for one in made.work() if one.post_id == "copy"]
    assert ruled.overruled is not None
    assert (ruled.overruled.value, ruled.overruled.reason) == (copy.value, copy.reason)
    made.change_rules({"other": {"verdict": "hide", "phrases": ["nobody says this"]}}, 9)
    (back,) = [one for one in made.work() if one.post_id == "copy"]
    assert (back.value, back.version, back.reason) == (copy.value, "0", copy.reason)


def test_in_a_canary_its_candidate_says_what_a_rule_overrules(made: Filter) -> None:
    tried = Candidate("2" * 64, (0.25,), partitions=1)
    made.step.set_candidate(CandidateScoring(model(lambda _: 0.25, "2"), 0, tried, 0.01))
    made.change_rules(NEW, 7)
    found = {one.post_id: one.overruled for one in made.work()}
    assert found == dict.fromkeys(HITS, ModelVerdict(0.25, "fixed", "2"))


def test_a_rule_that_says_the_same_rewrites_nothing(made: Filter) -> None:
    made.change_rules(NEW, 7)
    made.work()
    made.change_rules({**NEW, "s": {"verdict": "hide", "phrases": ["nobody says this"]}}, 9)
    assert made.work() == []
    assert made.note == "9"


def test_a_phrase_does_not_reach_posts_that_no_model_may_judge(made: Filter) -> None:
    made.poison[100] = "judged by no model"
    made.change_rules(NEW, 7)
    made.work()
    assert made.ruled() == HITS - {"p100"}


def test_what_is_not_committed_yet_is_waited_for(made: Filter) -> None:
    signal = made.write("late", "the new thing", is_committed=False)
    deletion = made.write("p50", None, is_committed=False)
    made.change_rules(NEW, 7)
    assert made.work() == []
    made.commit(signal)
    assert made.work() == []
    assert made.note == "-1"
    made.commit(deletion)
    made.work()
    assert made.ruled() == {*HITS, "late"} - {"p50"}
    assert made.note == "7"


def test_signals_that_never_appear_are_given_up(
    made: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write("late", "the new thing", is_committed=False)
    monkeypatch.setattr("feedmill.streams.scoring.rescoring._UNSEEN_WITHIN_S", -1.0)
    made.change_rules(NEW, 7)
    made.work()
    assert made.note == "7"


def test_whoever_takes_a_partition_over_goes_on_by_its_note(made: Filter) -> None:
    made.change_rules(NEW, 7)
    made.step.on_assigned(AssignmentChange(2, lost=(0,)))
    assert made.work() == []
    made.gain(note="-1", start=250)
    assert len(made.work()) == 5
    made.release_lists([post_list("authors", ["nobody"])], 3)
    for note in ("7 3", "7", "-1 3", "7 9", None):
        made.gain(note=note, start=250)
        made.earlier.reads.clear()
        assert made.work() == []
        assert bool(made.earlier.reads) is (note != "7 3"), note
        assert note == "7 3" or made.note == "7 3"


@pytest.mark.parametrize(("kind", "entry"), [("domains", "evil.example"), ("phrases", "See EVIL")])
def test_a_list_reaches_earlier_posts_and_one_that_is_withdrawn_leaves_them(
    made: Filter, kind: ListKind, entry: str
) -> None:
    bad = post_list(kind, [entry])
    made.write("link", "see evil.example")
    made.release_lists([bad], 3)
    (signal,) = made.work()
    assert (signal.post_id, signal.model, signal.version) == ("link", RULE_MODEL, bad.label)
    assert signal.overruled is not None
    assert (signal.overruled.model, signal.revision) == ("fixed", 0)
    assert made.note == "-1 3"
    # A change of rules leaves what the list decides.
    made.change_rules(NEW, 7)
    made.work()
    assert (made.ruled(), made.note) == ({*HITS, "link"}, "7 3")
    made.release_lists([], 4)
    made.work()
    assert (made.ruled(), made.note) == (HITS, "7 4")


def test_a_list_that_is_withdrawn_in_the_middle_of_a_pass_decides_nothing(made: Filter) -> None:
    made.release_lists([post_list("authors", ["a"])], 3)
    while not made.ruled():
        made.work(1)
    assert len(made.ruled()) < 250
    made.release_lists([], 4)
    made.work()
    assert (made.ruled(), made.note) == (set(), "-1 4")


def test_of_standing_signals_the_newest_are_kept_and_bad_ones_passed_over(
    made: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescoring, "MOST_STANDING", 3)
    made.change_rules(NEW, 7)
    made.work()
    made.commit(StoredRecord(0, 0, b"p7", b'{"model": "rule"'))
    made.change_rules(None, 9)
    assert {one.post_id for one in made.work()} == {"p0", "p50", "p100"}
