"""One partition of an engine with an engagement step, without Kafka, that can be killed."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from builders.engagement_step import NOW_MS, count_partitions
from builders.events import NO_COSTS, settings_of
from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.records import StoredRecord, record, record_batch
from feedmill.events.decode import decode_signal
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.streams.engagement import engagement, engagement_restore
from feedmill.streams.engagement.engagement import EngagementStep
from feedmill.streams.engagement.packed_states import PostState, decode_state
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import StepContext

POSTS, ENGAGEMENTS = TopicPartition("posts", 0), TopicPartition("engagements", 0)
COUNTERS = TopicPartition("counters", 0)
SHARE = "feedmill_outdated_share"


class Partition:
    """One partition of an engine that can be killed: what Kafka has of it, and a step that runs.

    A cycle is that of the worker: poll, apply, commit, background.  What the background wrote is
    committed by the next cycle.  `further` has the signals beside `engagement`, by name and post.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        model: ExpectedClicks,
        settings: Settings | None = None,
    ) -> None:
        self.topics: Topics = {POSTS: [], ENGAGEMENTS: [], COUNTERS: []}
        self.opened: list[str] = []
        self._monkeypatch = monkeypatch
        self.signals: dict[str, Signal] = {}
        self.further: dict[tuple[str, str], Signal] = {}
        self.written = 0
        self.states: dict[str, PostState] = {}
        self.notes: dict[str, str] = {}
        self._committed = {POSTS: 0, ENGAGEMENTS: 0}
        self.start(model, settings)

    def _open(self, connection: object, name: str, **_: int) -> FakeLog:
        self.opened.append(name)
        return FakeLog(self.topics)

    def start(self, model: ExpectedClicks, settings: Settings | None = None) -> None:
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
        self.step.settings_changed(settings or settings_of(("weights", NO_COSTS)))
        ends = {at: len(self.topics[at]) for at in (POSTS, ENGAGEMENTS)}
        self.step.on_assigned(
            AssignmentChange(
                1, gained=(0,), starts=self._committed, ends=ends, notes={POSTS: self.notes}
            )
        )

    def cycle(
        self,
        posts: Sequence[tuple[str, str | None]] = (),
        engagements: Sequence[tuple[str, EngagementKind]] = (),
    ) -> None:
        """One cycle on new records: texts of posts (None: deleted) and reactions."""
        self._add_posts(posts)
        self.add_engagements(engagements)
        posts_, events = (self.topics[at][self._committed[at] :] for at in (POSTS, ENGAGEMENTS))
        moved = self.step.poll(self._writer)
        if moved or posts_ or events:
            work = decode_work(
                [record_batch("posts", posts_)] if posts_ else [],
                [record_batch("engagements", events)] if events else [],
                partitions=1,
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

    def _add_posts(self, posts: Sequence[tuple[str, str | None]]) -> None:
        log = self.topics[POSTS]
        for key, text in posts:
            event = None if text is None else Post(key, "author", NOW_MS, text)
            log.append(record(key, event, offset=len(log), timestamp=NOW_MS))

    def add_engagements(self, events: Sequence[tuple[str, EngagementKind]]) -> None:
        """Add reactions, for the next cycle."""
        log = self.topics[ENGAGEMENTS]
        for key, kind in events:
            event = Engagement(key, f"user-{len(log)}", kind, NOW_MS)
            log.append(record(key, event, offset=len(log), timestamp=NOW_MS))

    def _commit(self) -> None:
        for topic, key, value, _ in self._writer.added:
            text = (key or b"").decode()
            if topic == "counters":
                at = len(self.topics[COUNTERS])
                self.topics[COUNTERS].append(StoredRecord(at, NOW_MS, key, value))
                self.states.pop(text, None)
                if value:
                    self.states[text] = decode_state(value)
            elif topic != "signals.engagement":
                name = topic.removeprefix("signals.")
                self.written += 1
                self.further.pop((name, text), None)
                if value:
                    self.further[name, text] = decode_signal(name, SignalNames(), key, value)
            else:
                self.signals.pop(text, None)
                if value:
                    self.signals[text] = decode_signal("engagement", SignalNames(), key, value)
        self.notes = self.notes | {name: text for (_, name), text in self._writer.notes.items()}
        self._writer.added.clear()
        self._writer.notes.clear()
        self._committed = {at: len(self.topics[at]) for at in (POSTS, ENGAGEMENTS)}


def begun(
    monkeypatch: pytest.MonkeyPatch,
    model: ExpectedClicks,
    settings: Settings | None = None,
    posts: int = 150,
) -> Partition:
    """A partition with posts: some edited, deleted, seen, clicked."""
    made = Partition(monkeypatch, model, settings)
    made.idle(5)
    made.cycle([(f"p{i}", f"{i} reasons why post {i} is worth a look!") for i in range(posts)])
    for i in range(0, posts, 3):
        shown: list[tuple[str, EngagementKind]] = [(f"p{i}", "impression")] * (i + 1)
        made.cycle(engagements=[*shown, (f"p{i}", "reply"), (f"p{i}", "click")])
    made.cycle([("p3", "an edit"), ("p4", "another edit"), ("p5", None)])
    made.cycle(engagements=[("unknown", "reply")])
    made.idle(5)
    return made
