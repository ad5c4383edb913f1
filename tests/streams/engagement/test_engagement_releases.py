"""After a release earlier posts get the values of the new model, as if it had counted them all."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builders.engagement_step import NOW_MS, count_partitions
from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.records import StoredRecord, record, record_batch
from feedmill.events.decode import decode_signal
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.post import Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.engagement import EngagementModel, ExpectedClicks
from feedmill.rankers.registry import ENGAGEMENT_RANKER
from feedmill.streams.engagement import engagement, engagement_restore
from feedmill.streams.engagement.engagement import EngagementStep
from feedmill.streams.engagement.packed_states import PostState, decode_state
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.settings.environment import Environment
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import StepContext

POSTS, ENGAGEMENTS = TopicPartition("posts", 0), TopicPartition("engagements", 0)
COUNTERS = TopicPartition("counters", 0)
OLD = cast(ExpectedClicks, ENGAGEMENT_RANKER.load())
# Another rate, another weight of the prior, another order of texts.
NEW = replace(OLD, version="new", base=2 * OLD.base, prior_weight=50.0, trees=None)
SHARE = "feedmill_outdated_share"


class Partition:
    """One partition of an engine that can be killed: what Kafka has of it, and a step that runs.

    A cycle is that of the worker: poll, apply, commit, background.  What the background wrote is
    committed by the next cycle.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: EngagementModel) -> None:
        self.topics: Topics = {POSTS: [], ENGAGEMENTS: [], COUNTERS: []}
        self.opened: list[str] = []
        self._monkeypatch = monkeypatch
        self.signals: dict[str, Signal] = {}
        self.states: dict[str, PostState] = {}
        self.notes: dict[str, str] = {}
        self._committed: dict[TopicPartition, int] = {}
        self.start(model)

    def _open(self, connection: object, name: str, **_: int) -> FakeLog:
        self.opened.append(name)
        return FakeLog(self.topics)

    def start(self, model: EngagementModel) -> None:
        """Start, or start anew after a kill: what was not committed is lost."""
        set_of = self._monkeypatch.setattr
        set_of(engagement_restore, "LogConsumer", lambda *_, **__: FakeLog(self.topics))
        set_of(engagement, "LogConsumer", self._open)
        clock = LogClock(lambda: float(NOW_MS))
        clock.stamp(NOW_MS)
        self.metrics = Metrics("engagement", "test")
        self.step = EngagementStep(lambda: model)
        self._writer = KeptWriter()
        connection: Any = SimpleNamespace(
            environment=Environment(rescore_rate=1_000_000, feature_share=0.0),
            offsets=SimpleNamespace(partition_count=count_partitions),
        )
        self.step.start(StepContext(connection, clock, self.metrics, 1))
        ends = {at: len(self.topics[at]) for at in (POSTS, ENGAGEMENTS)}
        self.step.on_assigned(
            AssignmentChange(
                1,
                gained=(0,),
                starts=self._committed,
                ends=ends,
                notes={TopicPartition("posts", 0): self.notes},
            )
        )

    def cycle(
        self,
        posts: Sequence[tuple[str, str | None]] = (),
        engagements: Sequence[tuple[str, EngagementKind]] = (),
    ) -> None:
        """One cycle on new records: texts of posts (None: deleted) and reactions."""
        posts_, events = self._posts(posts), self._engagements(engagements)
        moved = self.step.poll(self._writer)
        if moved or posts_ or events:
            work = decode_work(
                [record_batch("posts", posts_)] if posts_ else [],
                [record_batch("engagements", events)] if events else [],
                partitions=1,
                epoch=1,
                now_ms=NOW_MS,
            )
            assert not work.rejected
            self.step.apply(work, self._writer)
        self._commit()
        self.step.background(self._writer, 0.0)

    def idle(self, cycles: int = 100) -> None:
        for _ in range(cycles):
            self.cycle()

    def values(self) -> dict[str, tuple[float | None, str, int, int]]:
        """What readers of the signals see of each post."""
        return {
            key: (one.value, one.version, one.post_offset, one.revision)
            for key, one in self.signals.items()
        }

    def share(self) -> float | None:
        lines = [line for line in self.metrics.text().splitlines() if line.startswith(SHARE + "{")]
        return float(lines[0].rpartition(" ")[2]) if lines else None

    def _posts(self, posts: Sequence[tuple[str, str | None]]) -> list[StoredRecord]:
        log = self.topics[POSTS]
        for key, text in posts:
            event = None if text is None else Post(key, "author", NOW_MS, text)
            log.append(record(key, event, offset=len(log), timestamp=NOW_MS))
        return log[len(log) - len(posts) :]

    def _engagements(self, events: Sequence[tuple[str, EngagementKind]]) -> list[StoredRecord]:
        log = self.topics[ENGAGEMENTS]
        for key, kind in events:
            event = Engagement(key, f"user-{len(log)}", kind, NOW_MS)
            log.append(record(key, event, offset=len(log), timestamp=NOW_MS))
        return log[len(log) - len(events) :]

    def _commit(self) -> None:
        for topic, key, value, _ in self._writer.added:
            text = (key or b"").decode()
            if topic == "counters":
                at = len(self.topics[COUNTERS])
                self.topics[COUNTERS].append(StoredRecord(at, NOW_MS, key, value))
                self.states.pop(text, None)
                if value:
                    self.states[text] = decode_state(value)
            else:
                assert topic == "signals.engagement"
                self.signals.pop(text, None)
                if value:
                    self.signals[text] = decode_signal("engagement", SignalNames(), key, value)
        self.notes = self.notes | {name: text for (_, name), text in self._writer.notes.items()}
        self._writer.added.clear()
        self._writer.notes.clear()
        self._committed = {at: len(self.topics[at]) for at in (POSTS, ENGAGEMENTS)}


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what starts a partition with 150 posts: some edited, deleted, seen, liked."""

    def start(model: EngagementModel) -> Partition:
        made = Partition(monkeypatch, model)
        made.idle(5)
        made.cycle([(f"p{i}", f"{i} reasons why post {i} is worth a look!") for i in range(150)])
        for i in range(0, 150, 3):
            shown: list[tuple[str, EngagementKind]] = [(f"p{i}", "impression")] * (i + 1)
            made.cycle(engagements=[*shown, (f"p{i}", "click")])
        made.cycle([("p3", "an edit"), ("p4", "another edit"), ("p5", None)])
        made.cycle(engagements=[("unknown", "like")])
        made.idle(5)
        return made

    return start


def test_every_value_is_what_the_new_version_would_have_said_from_the_start(begin: Any) -> None:
    made, expected = begin(OLD), begin(NEW)
    assert made.notes == {"scored.engagement": OLD.version}
    made.step.swap(NEW)
    made.idle()
    assert made.values() == expected.values()
    assert made.states == expected.states
    assert len(made.values()) == 149
    assert made.notes == {"scored.engagement": "new"}
    # What comes next is counted on.
    for one in (made, expected):
        one.cycle([("q", "new")], [("p6", "impression"), ("p7", "like"), ("p3", "click")])
    assert made.values() == expected.values()


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("cycles", range(10))
def test_a_kill_within_the_pass_changes_no_value(begin: Any, cycles: int, *, back: bool) -> None:
    """Also where the version of before comes back meanwhile, which did not judge all."""
    last = OLD if back else NEW
    made, expected = begin(OLD), begin(last)
    made.step.swap(NEW)
    made.cycle([("q", "new")], [("p9", "impression"), ("p140", "click")])
    made.idle(cycles)
    assert made.values() != expected.values()
    made.start(last)
    made.idle()
    expected.cycle([("q", "new")], [("p9", "impression"), ("p140", "click")])
    assert made.values() == expected.values()
    assert made.states == expected.states
    assert made.notes == {"scored.engagement": last.version}


@pytest.mark.parametrize("cycles", range(10))
def test_what_happens_to_posts_within_the_pass_is_not_undone(begin: Any, cycles: int) -> None:
    made, expected = begin(OLD), begin(NEW)
    made.step.swap(NEW)
    made.idle(cycles)
    changes = [("p80", "an edit"), ("p90", None), ("p20", "a late edit")]
    events: list[tuple[str, EngagementKind]] = [("p80", "impression"), ("p100", "click")]
    for one in (made, expected):
        one.cycle(changes, events)
        one.idle()
    assert made.values() == expected.values()
    assert made.states == expected.states


def test_new_posts_follow_a_release_and_a_rollback_at_once(begin: Any) -> None:
    made = begin(OLD)
    for model in (NEW, OLD):
        made.step.swap(model)
        made.cycle([("q", f"a text for {model.version}")])
        assert made.signals["q"].version == model.version
        text = Post("q", "author", NOW_MS, f"a text for {model.version}")
        assert made.states["q"].prior == model.prior_many([text])[0]


def test_what_is_left_of_the_old_version_is_told(begin: Any) -> None:
    made = begin(OLD)
    assert made.share() is None
    made.step.swap(NEW)
    shares = []
    while made.notes["scored.engagement"] != "new":
        made.cycle()
        shares.append(made.share())
    assert shares[0] == 1.0
    assert shares[-1] == 0.0


def test_without_a_release_nothing_is_read_or_written_again(begin: Any) -> None:
    made = begin(OLD)
    before = made.values(), len(made.topics[COUNTERS])
    made.start(OLD)
    made.idle()
    assert (made.values(), len(made.topics[COUNTERS])) == before
    assert made.opened == []


def test_no_post_is_left_out_since_its_counts_are_not_restored_yet(
    begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engagement_restore, "_SLICE_RECORDS", 50)
    monkeypatch.setattr(engagement_restore, "_BUDGET_S", 0.0)
    made, expected = begin(OLD), begin(NEW)
    made.start(NEW)
    made.cycle()
    assert not made.step.ready_for_engagements(0)
    made.idle(300)
    assert made.values() == expected.values()
